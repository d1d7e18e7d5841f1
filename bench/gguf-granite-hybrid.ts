import type { JsonObject } from '../src/checkpoint/json/json.ts';
import { type GraniteMoeHybridConfig, readGraniteMoeHybridConfig } from '../src/models/granite-moe-hybrid.ts';
import {
  attentionTensors,
  exact,
  float32,
  type GgufModel,
  matrix,
  mixerMetadata,
  mixerTensors,
  rowsOf,
  rowsOfEach,
  uint32,
} from './gguf-tensors.ts';
import type { GgufDType, GgufTensor } from './gguf-writer.ts';

/** Granite 4.0 H, without rotary embedding and with tied embeddings, as llama.cpp has it. */
export function ggufGraniteHybrid(json: JsonObject, dtype: GgufDType): GgufModel {
  const config = readGraniteMoeHybridConfig(json);
  const { vocabSize, hiddenSize, numHiddenLayers, layerTypes, numLocalExperts, sharedIntermediateSize: I } = config;
  // In models with experts, the layer that all tokens visit has another name.
  const shared = numLocalExperts > 0 ? '_shexp' : '';
  const mixer = { ...config.mixer, hiddenSize };
  const tensors: GgufTensor[] = [
    matrix('token_embd.weight', 'model.embed_tokens.weight', [vocabSize, hiddenSize], dtype),
    exact('output_norm.weight', 'model.norm.weight', 'norm', [hiddenSize]),
  ];
  for (const [i, type] of layerTypes.entries()) {
    const [ours, theirs] = [`model.layers.${i}`, `blk.${i}`];
    const gateUp = matrix('', `${ours}.shared_mlp.input_linear.weight`, [2 * I, hiddenSize], dtype);
    tensors.push(
      exact(`${theirs}.attn_norm.weight`, `${ours}.input_layernorm.weight`, 'norm', [hiddenSize]),
      ...(type === 'full_attention'
        ? attentionTensors(theirs, `${ours}.self_attn`, config, dtype)
        : mixerTensors(theirs, `${ours}.mamba`, mixer, dtype)),
      exact(`${theirs}.ffn_norm.weight`, `${ours}.post_attention_layernorm.weight`, 'norm', [hiddenSize]),
      rowsOf(`${theirs}.ffn_gate${shared}.weight`, gateUp, 0, I),
      rowsOf(`${theirs}.ffn_up${shared}.weight`, gateUp, I, 2 * I),
      matrix(`${theirs}.ffn_down${shared}.weight`, `${ours}.shared_mlp.output_linear.weight`, [hiddenSize, I], dtype),
      ...(numLocalExperts > 0 ? expertTensors(theirs, `${ours}.block_sparse_moe`, config, dtype) : []),
    );
  }
  const kvHeads = layerTypes.map((type) => (type === 'full_attention' ? config.numKeyValueHeads : 0));
  return {
    architecture: 'granitehybrid',
    metadata: [
      ['context_length', uint32(2 ** 20)],
      ['embedding_length', uint32(hiddenSize)],
      ['feed_forward_length', uint32(numLocalExperts > 0 ? config.intermediateSize : I)],
      ...(numLocalExperts > 0
        ? ([
            ['expert_count', uint32(numLocalExperts)],
            ['expert_used_count', uint32(config.numExpertsPerTok)],
            ['expert_shared_feed_forward_length', uint32(I)],
          ] as const)
        : []),
      ['attention.head_count', uint32(config.numAttentionHeads)],
      ['attention.head_count_kv', { int32s: kvHeads }],
      ['attention.key_length', uint32(config.attentionHeadDim)],
      ['attention.value_length', uint32(config.attentionHeadDim)],
      ['attention.layer_norm_rms_epsilon', float32(config.normEps)],
      ['attention.scale', float32(config.attentionMultiplier ?? config.attentionHeadDim ** -0.5)],
      ['embedding_scale', float32(config.embeddingMultiplier ?? 1)],
      ['residual_scale', float32(config.residualMultiplier)],
      ['logit_scale', float32(1 / (config.logitsMultiplier ?? 1))],
      ['rope.scaling.finetuned', false],
      ['block_count', uint32(numHiddenLayers)],
      ['vocab_size', uint32(vocabSize)],
      ...mixerMetadata(mixer),
    ],
    tensors,
  };
}

/** Router and experts: llama.cpp keeps gates and what they gate apart. */
function expertTensors(
  theirs: string,
  ours: string,
  { hiddenSize, numLocalExperts: E, intermediateSize: I }: GraniteMoeHybridConfig,
  dtype: GgufDType,
): GgufTensor[] {
  const gateUp = matrix('', `${ours}.input_linear.weight`, [E, 2 * I, hiddenSize], dtype);
  return [
    exact(`${theirs}.ffn_gate_inp.weight`, `${ours}.router.layer.weight`, 'router', [E, hiddenSize]),
    rowsOfEach(`${theirs}.ffn_gate_exps.weight`, gateUp, 0, I),
    rowsOfEach(`${theirs}.ffn_up_exps.weight`, gateUp, I, 2 * I),
    matrix(`${theirs}.ffn_down_exps.weight`, `${ours}.output_linear.weight`, [E, hiddenSize, I], dtype),
  ];
}
