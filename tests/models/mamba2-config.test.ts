import { describe, expect, test } from 'vitest';
import type { JsonObject } from '../../src/checkpoint/json/json.ts';
import { ConfigError } from '../../src/errors.ts';
import { readMamba2Config } from '../../src/models/mamba2-config.ts';

/** Codestral's geometry, made small. */
const huggingFace: JsonObject = {
  architectures: ['Mamba2ForCausalLM'],
  model_type: 'mamba2',
  hidden_size: 32,
  num_hidden_layers: 2,
  vocab_size: 50,
  num_heads: 8,
  head_dim: 8,
  n_groups: 4,
  state_size: 16,
  conv_kernel: 4,
  chunk_size: 16,
  expand: 2,
  hidden_act: 'silu',
  layer_norm_epsilon: 1e-6,
  use_bias: true,
  use_conv_bias: false,
  tie_word_embeddings: true,
  time_step_limit: [0, Number.POSITIVE_INFINITY],
  eos_token_id: 2,
};

/** As state-spaces/mamba2-130m has it. */
const original: JsonObject = {
  d_model: 768,
  d_intermediate: 0,
  n_layer: 24,
  vocab_size: 50277,
  ssm_cfg: { layer: 'Mamba2' },
  attn_layer_idx: [],
  attn_cfg: {},
  rms_norm: true,
  residual_in_fp32: true,
  fused_add_norm: true,
  pad_vocab_size_multiple: 16,
  tie_embeddings: true,
};

function without(json: JsonObject, ...keys: string[]): JsonObject {
  return Object.fromEntries(Object.entries(json).filter(([key]) => !keys.includes(key)));
}

describe("Hugging Face's layout", () => {
  test('is read whole', () => {
    expect(readMamba2Config(huggingFace)).toEqual({
      architecture: 'Mamba2ForCausalLM',
      vocabSize: 50,
      hiddenSize: 32,
      numHiddenLayers: 2,
      stateSize: 16,
      convKernel: 4,
      intermediateSize: 64,
      nGroups: 4,
      numHeads: 8,
      headDim: 8,
      useBias: true,
      useConvBias: false,
      hiddenAct: 'silu',
      layerNormEpsilon: 1e-6,
      useRmsNorm: true,
      chunkSize: 16,
      timeStepLimit: [0, Number.POSITIVE_INFINITY],
      tieWordEmbeddings: true,
      eosTokenIds: [2],
    });
  });

  test("fills in transformers' defaults", () => {
    const config = readMamba2Config({ hidden_size: 4096, num_hidden_layers: 64, vocab_size: 32768 });
    expect(config).toMatchObject({
      stateSize: 128,
      convKernel: 4,
      intermediateSize: 8192,
      nGroups: 8,
      numHeads: 128,
      headDim: 64,
      useBias: false,
      useConvBias: true,
      hiddenAct: 'silu',
      layerNormEpsilon: 1e-5,
      chunkSize: 256,
      timeStepLimit: [0, Number.POSITIVE_INFINITY],
      tieWordEmbeddings: false,
      eosTokenIds: [],
    });
  });

  test('takes null for absent, as Python writes unset options', () => {
    const nulls = Object.fromEntries(
      ['time_step_limit', 'eos_token_id', 'use_bias', 'intermediate_size', 'chunk_size', 'hidden_act', 'ssm_cfg'].map(
        (key) => [key, null],
      ),
    );
    const keys = Object.keys(nulls);
    expect(readMamba2Config({ ...huggingFace, ...nulls })).toEqual(readMamba2Config(without(huggingFace, ...keys)));
  });

  test('a fractional expand', () => {
    const config = readMamba2Config({
      ...huggingFace,
      hidden_size: 512,
      expand: 1.5,
      num_heads: 12,
      head_dim: 64,
      n_groups: 2,
    });
    expect(config.intermediateSize).toBe(768);
  });

  test('intermediate_size, where given, instead of expand', () => {
    const config = readMamba2Config({ ...huggingFace, expand: 7, intermediate_size: 64 });
    expect(config.intermediateSize).toBe(64);
  });

  test('no architectures', () => {
    expect(readMamba2Config(without(huggingFace, 'architectures'))).toEqual(readMamba2Config(huggingFace));
  });

  test.each([
    [
      [7, 9],
      [7, 9],
    ],
    [0, [0]],
    [null, []],
    [[], []],
  ])('eos_token_id %j', (eos, expected) => {
    expect(readMamba2Config({ ...huggingFace, eos_token_id: eos }).eosTokenIds).toEqual(expected);
  });

  test('norm_before_gate and rms_norm are carried by configs but change nothing', () => {
    const plain = readMamba2Config(huggingFace);
    for (const value of [true, false]) {
      expect(readMamba2Config({ ...huggingFace, norm_before_gate: value })).toEqual(plain);
      expect(readMamba2Config({ ...huggingFace, rms_norm: value })).toEqual(plain);
    }
  });

  test.each([
    ['silu', 'silu'],
    ['swish', 'silu'],
    ['identity', 'identity'],
    ['linear', 'identity'],
    ['gelu', 'gelu'],
  ])('hidden_act %s', (name, activation) => {
    expect(readMamba2Config({ ...huggingFace, hidden_act: name }).hiddenAct).toBe(activation);
  });

  test.each<[string, JsonObject, RegExp]>([
    ['heads and head dim that make another size', { num_heads: 7, n_groups: 1 }, /7 heads of 8/],
    ['an expand that does', { expand: 3 }, /96/],
    ['an intermediate size that does', { intermediate_size: 72 }, /72/],
    ['groups that do not divide the heads', { n_groups: 3 }, /3 groups/],
    ['no groups', { n_groups: 0 }, /n_groups/],
    ['an expand that makes no whole size', { expand: 1.03 }, /expand/],
    ['a time-step limit upside down', { time_step_limit: [1, 0.5] }, /time_step_limit/],
    ['a negative time-step limit', { time_step_limit: [-1, 1] }, /time_step_limit/],
    ['a time-step limit of one number', { time_step_limit: [0] }, /time_step_limit/],
    ['an unknown activation', { hidden_act: 'mish' }, /hidden_act/],
    ['a size of the wrong type', { hidden_size: '32' }, /hidden_size/],
    ['a fractional size', { state_size: 1.5 }, /state_size/],
    ['no layers', { num_hidden_layers: 0 }, /num_hidden_layers/],
    ['a switch that is no boolean', { use_bias: 1 }, /use_bias/],
    ['an eos token that is no id', { eos_token_id: ['</s>'] }, /eos_token_id/],
    ['a missing size', { hidden_size: null }, /hidden_size/],
    ['a missing vocabulary', { vocab_size: null }, /vocab_size/],
  ])('%s: ConfigError', (_, changes, message) => {
    const read = () => readMamba2Config({ ...huggingFace, ...changes });
    expect(read).toThrow(ConfigError);
    expect(read).toThrow(message);
  });
});

describe('the original layout', () => {
  test('is read as state-spaces/mamba2-130m means it', () => {
    expect(readMamba2Config(original)).toEqual({
      architecture: 'Mamba2ForCausalLM',
      vocabSize: 50288,
      hiddenSize: 768,
      numHiddenLayers: 24,
      stateSize: 128,
      convKernel: 4,
      intermediateSize: 1536,
      nGroups: 1,
      numHeads: 24,
      headDim: 64,
      useBias: false,
      useConvBias: true,
      hiddenAct: 'silu',
      layerNormEpsilon: 1e-5,
      useRmsNorm: true,
      chunkSize: 256,
      timeStepLimit: [0, Number.POSITIVE_INFINITY],
      tieWordEmbeddings: true,
      eosTokenIds: [],
    });
  });

  test.each([
    [50277, 16, 50288],
    [50277, 8, 50280],
    [50277, 1, 50277],
    [64, 64, 64],
  ])('a vocabulary of %i padded to a multiple of %i is %i', (vocab_size, pad_vocab_size_multiple, padded) => {
    expect(readMamba2Config({ ...original, vocab_size, pad_vocab_size_multiple }).vocabSize).toBe(padded);
  });

  test('its norm may come before its gate, unlike that of the other layout', () => {
    const before = { ...original, ssm_cfg: { layer: 'Mamba2', norm_before_gate: true } };
    expect(readMamba2Config(before).normBeforeGate).toBe(true);
    expect(readMamba2Config(original).normBeforeGate).toBeUndefined();
  });

  test('ssm_cfg decides the mixer', () => {
    const ssm_cfg = { layer: 'Mamba2', headdim: 32, d_state: 64, d_conv: 3, ngroups: 4, expand: 1.5, chunk_size: 128 };
    const flags = { bias: true, conv_bias: false, rmsnorm: false, dt_limit: [0.001, 0.1] };
    expect(readMamba2Config({ ...original, ssm_cfg: { ...ssm_cfg, ...flags }, tie_embeddings: false })).toMatchObject({
      headDim: 32,
      stateSize: 64,
      convKernel: 3,
      nGroups: 4,
      intermediateSize: 1152,
      numHeads: 36,
      chunkSize: 128,
      useBias: true,
      useConvBias: false,
      useRmsNorm: false,
      timeStepLimit: [0.001, 0.1],
      tieWordEmbeddings: false,
    });
  });

  test.each<[string, JsonObject]>([
    ['Mamba-1 layers', { ssm_cfg: { layer: 'Mamba1' } }],
    ['a D for each column of a head', { ssm_cfg: { layer: 'Mamba2', D_has_hdim: true } }],
    ['channels without state', { ssm_cfg: { layer: 'Mamba2', d_ssm: 768 } }],
    ['layers that are not named, which were Mamba-1', { ssm_cfg: {} }],
    ['attention layers', { attn_layer_idx: [9, 18] }],
    ['MLP layers', { d_intermediate: 1024 }],
    ['LayerNorm', { rms_norm: false }],
    ['a head dim that does not divide', { ssm_cfg: { layer: 'Mamba2', headdim: 100 } }],
    ['groups that do not divide the heads', { ssm_cfg: { layer: 'Mamba2', ngroups: 5 } }],
    ['no model size', { d_model: null }],
    ['an ssm_cfg that is no object', { ssm_cfg: 'Mamba2' }],
  ])('%s: ConfigError', (_, changes) => {
    expect(() => readMamba2Config({ ...original, ...changes })).toThrow(ConfigError);
  });
});
