import type { JsonObject } from '../src/checkpoint/json/json.ts';
import { readMamba2Config } from '../src/models/mamba2-config.ts';
import { exact, float32, type GgufModel, matrix, mixerMetadata, mixerTensors, uint32 } from './gguf-tensors.ts';
import type { GgufDType, GgufTensor } from './gguf-writer.ts';

/** Mamba-2 as llama.cpp has it. */
export function ggufMamba2(json: JsonObject, dtype: GgufDType): GgufModel {
  const config = readMamba2Config(json);
  const { vocabSize, hiddenSize, numHiddenLayers } = config;
  const mixer = { ...config, ssmStateSize: config.stateSize, convKernelSize: config.convKernel };
  const tensors: GgufTensor[] = [
    matrix('token_embd.weight', 'backbone.embeddings.weight', [vocabSize, hiddenSize], dtype),
    exact('output_norm.weight', 'backbone.norm_f.weight', 'norm', [hiddenSize]),
  ];
  if (!config.tieWordEmbeddings) {
    tensors.push(matrix('output.weight', 'lm_head.weight', [vocabSize, hiddenSize], dtype));
  }
  for (let i = 0; i < numHiddenLayers; i++) {
    const [ours, theirs] = [`backbone.layers.${i}`, `blk.${i}`];
    tensors.push(exact(`${theirs}.attn_norm.weight`, `${ours}.norm.weight`, 'norm', [hiddenSize]));
    tensors.push(...mixerTensors(theirs, `${ours}.mixer`, mixer, dtype));
  }
  return {
    architecture: 'mamba2',
    metadata: [
      ['context_length', uint32(2 ** 20)],
      ['embedding_length', uint32(hiddenSize)],
      ['feed_forward_length', uint32(0)],
      ['attention.head_count', uint32(0)],
      ['attention.layer_norm_rms_epsilon', float32(config.layerNormEpsilon)],
      ['block_count', uint32(numHiddenLayers)],
      ['vocab_size', uint32(vocabSize)],
      ...mixerMetadata(mixer),
    ],
    tensors,
  };
}
