import type { JsonObject } from '../src/checkpoint/json/json.ts';
import { type FalconH1Config, readFalconH1Config } from '../src/models/falcon-h1.ts';
import {
  attentionTensors,
  exact,
  float32,
  type GgufModel,
  matrix,
  mixerMetadata,
  mixerTensors,
  scaledRows,
  uint32,
} from './gguf-tensors.ts';
import type { GgufDType, GgufTensor } from './gguf-writer.ts';

/** Falcon-H1 as llama.cpp has it: all multipliers are in the weights. */
export function ggufFalconH1(json: JsonObject, dtype: GgufDType): GgufModel {
  const config = readFalconH1Config(json);
  const {
    vocabSize,
    hiddenSize,
    numHiddenLayers,
    intermediateSize,
    embeddingMultiplier = 1,
    logitsMultiplier = 1,
  } = config;
  const mixer = { ...config.mixer, hiddenSize };
  const times = (tensor: GgufTensor, factor: number) => scaledRows(tensor, () => factor);
  const tensors: GgufTensor[] = [
    times(
      matrix('token_embd.weight', 'model.embed_tokens.weight', [vocabSize, hiddenSize], dtype),
      embeddingMultiplier,
    ),
    exact('output_norm.weight', 'model.final_layernorm.weight', 'norm', [hiddenSize]),
    times(matrix('output.weight', 'lm_head.weight', [vocabSize, hiddenSize], dtype), logitsMultiplier),
  ];
  for (let i = 0; i < numHiddenLayers; i++) {
    const [ours, theirs] = [`model.layers.${i}`, `blk.${i}`];
    const { useRmsNorm: norm } = config.mixer;
    const [q, k, v, o] = attentionTensors(theirs, `${ours}.self_attn`, config, dtype);
    const { attentionInMultiplier, attentionOutMultiplier, keyMultiplier } = config;
    const [gateMultiplier, downMultiplier] = config.mlpMultipliers;
    const mlp = (name: string, ourName: string, shape: readonly number[]) =>
      matrix(`${theirs}.${name}.weight`, `${ours}.feed_forward.${ourName}.weight`, shape, dtype);
    tensors.push(
      exact(`${theirs}.attn_norm.weight`, `${ours}.input_layernorm.weight`, 'norm', [hiddenSize]),
      ...mixerTensors(theirs, `${ours}.mamba`, mixer, dtype, { norm }).map((tensor) => scaledMixer(tensor, config)),
      times(q, attentionInMultiplier),
      times(k, attentionInMultiplier * keyMultiplier),
      times(v, attentionInMultiplier),
      times(o, attentionOutMultiplier),
      // The loader asks for this one without '.weight'.
      exact(`${theirs}.ffn_norm`, `${ours}.pre_ff_layernorm.weight`, 'norm', [hiddenSize]),
      times(mlp('ffn_gate', 'gate_proj', [intermediateSize, hiddenSize]), gateMultiplier),
      mlp('ffn_up', 'up_proj', [intermediateSize, hiddenSize]),
      times(mlp('ffn_down', 'down_proj', [hiddenSize, intermediateSize]), downMultiplier),
    );
  }
  return {
    architecture: 'falcon-h1',
    metadata: [
      ['context_length', uint32(2 ** 14)],
      ['embedding_length', uint32(hiddenSize)],
      ['feed_forward_length', uint32(intermediateSize)],
      ['attention.head_count', uint32(config.numAttentionHeads)],
      ['attention.head_count_kv', uint32(config.numKeyValueHeads)],
      ['attention.key_length', uint32(config.attentionHeadDim)],
      ['attention.value_length', uint32(config.attentionHeadDim)],
      ['attention.layer_norm_rms_epsilon', float32(config.normEps)],
      ['rope.freq_base', float32(config.rope?.theta ?? 10000)],
      ['rope.dimension_count', uint32(config.rope?.rotaryDim ?? config.attentionHeadDim)],
      ['block_count', uint32(numHiddenLayers)],
      ['vocab_size', uint32(vocabSize)],
      ...mixerMetadata(mixer),
    ],
    tensors,
  };
}

function scaledMixer(tensor: GgufTensor, config: FalconH1Config): GgufTensor {
  const { mixer, ssmInMultiplier, ssmOutMultiplier, ssmMultipliers } = config;
  if (tensor.name.endsWith('ssm_out.weight')) return scaledRows(tensor, () => ssmOutMultiplier);
  if (!tensor.name.endsWith('ssm_in.weight')) return tensor;
  const { intermediateSize, nGroups, ssmStateSize, numHeads } = mixer;
  const states = nGroups * ssmStateSize;
  const sizes = [intermediateSize, intermediateSize, states, states, numHeads];
  const factors = sizes.flatMap((size, part) => Array.from({ length: size }, () => ssmMultipliers[part]));
  return scaledRows(tensor, (row) => factors[row] * ssmInMultiplier);
}
