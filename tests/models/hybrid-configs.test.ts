import { describe, expect, test } from 'vitest';
import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import type { JsonObject } from '../../src/checkpoint/json/json.ts';
import { singleProcess } from '../../src/distributed/process-group.ts';
import { ConfigError } from '../../src/errors.ts';
import { LayerContext } from '../../src/layers/parameters/layer-context.ts';
import { readBambaConfig } from '../../src/models/bamba.ts';
import { readFalconH1Config } from '../../src/models/falcon-h1.ts';
import { readGraniteMoeHybridConfig } from '../../src/models/granite-moe-hybrid.ts';
import { readNemotronHConfig } from '../../src/models/nemotron-h-config.ts';
import { readPlamo2Config } from '../../src/models/plamo2.ts';
import { defineModel } from '../../src/models/registry.ts';
import { readZamba2Config } from '../../src/models/zamba2-config.ts';

/** Sizes that fit each other, without anything that says which model it is. */
const PREFIXED: JsonObject = {
  vocab_size: 50,
  hidden_size: 64,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  mamba_n_heads: 8,
  mamba_d_head: 16,
  mamba_d_state: 16,
};

describe.each([
  ['Bamba', readBambaConfig],
  ['Granite', readGraniteMoeHybridConfig],
  ['Falcon-H1', (json: JsonObject) => readFalconH1Config({ mamba_d_ssm: null, ...json })],
])('configs with mamba_ keys: %s', (_, read) => {
  test('mamba_d_head: "auto", null or absent divides the expanded size', () => {
    for (const change of [{ mamba_d_head: 'auto' }, { mamba_d_head: null }]) {
      expect(read({ ...PREFIXED, ...change }).mixer).toMatchObject({ headDim: 16, intermediateSize: 128 });
    }
  });

  test('a fractional mamba_expand', () => {
    const { mixer } = read({ ...PREFIXED, mamba_expand: 1.5, mamba_n_heads: 6 });
    expect(mixer).toMatchObject({ intermediateSize: 96, numHeads: 6 });
  });

  test('num_key_value_heads null means as many as query heads', () => {
    expect(read({ ...PREFIXED, num_key_value_heads: null }).numKeyValueHeads).toBe(4);
  });

  test('a head dim of its own', () => {
    expect(read(PREFIXED).attentionHeadDim).toBe(16);
    expect(read({ ...PREFIXED, head_dim: 32 }).attentionHeadDim).toBe(32);
  });

  test('time_step_limit, as JSON can and cannot write infinity, and null', () => {
    const all = [0, Number.POSITIVE_INFINITY];
    expect(read(PREFIXED).mixer.timeStepLimit).toEqual(all);
    expect(read({ ...PREFIXED, time_step_limit: null }).mixer.timeStepLimit).toEqual(all);
    expect(read({ ...PREFIXED, time_step_limit: [0.1, 2] }).mixer.timeStepLimit).toEqual([0.1, 2]);
  });

  test('the activation is that of the convolution, too, under any of its names', () => {
    const activations = (hidden_act: string) => {
      const { hiddenAct, mixer } = read({ ...PREFIXED, hidden_act });
      return [hiddenAct, mixer.activation];
    };
    expect(activations('swish')).toEqual(['silu', 'silu']);
    expect(activations('gelu_pytorch_tanh')).toEqual(['gelu_tanh', 'gelu_tanh']);
  });

  test.each<[string, JsonObject, RegExp]>([
    ['heads that make another size', { mamba_n_heads: 7 }, /7 heads of 16/],
    ['groups that do not divide the heads', { mamba_n_groups: 3 }, /3 groups/],
    ['key-value heads that do not divide the heads', { num_key_value_heads: 3 }, /num_key_value_heads 3/],
    ['an unknown head dim', { mamba_d_head: 'automatic' }, /mamba_d_head/],
    ['an activation that no layer has', { hidden_act: 'mish' }, /hidden_act/],
    ['a time-step limit upside down', { time_step_limit: [1, 0] }, /time_step_limit/],
  ])('%s: ConfigError', (_name, change, message) => {
    expect(() => read({ ...PREFIXED, ...change })).toThrow(ConfigError);
    expect(() => read({ ...PREFIXED, ...change })).toThrow(message);
  });
});

describe('Bamba', () => {
  test("fills in transformers' defaults", () => {
    expect(readBambaConfig({})).toMatchObject({
      vocabSize: 128000,
      hiddenSize: 4096,
      numHiddenLayers: 32,
      numAttentionHeads: 32,
      numKeyValueHeads: 8,
      attentionHeadDim: 128,
      attnLayerIndices: [],
      intermediateSize: 14336,
      mixer: { numHeads: 128, headDim: 64, ssmStateSize: 256, nGroups: 1, chunkSize: 256 },
      rope: { theta: 10000, rotaryDim: 64, scaling: { type: 'default' } },
      normEps: 1e-5,
      tieWordEmbeddings: false,
    });
  });

  test('rotates half of a head, unless rope_parameters say otherwise', () => {
    const rotated = (change: JsonObject) => readBambaConfig({ ...PREFIXED, ...change }).rope;
    expect(rotated({})).toMatchObject({ rotaryDim: 8, theta: 10000 });
    expect(rotated({ partial_rotary_factor: 1 })).toMatchObject({ rotaryDim: 8 });
    expect(rotated({ rope_theta: 500 })).toMatchObject({ theta: 500 });
    expect(rotated({ rope_parameters: { rope_theta: 7, partial_rotary_factor: 1 } })).toMatchObject({
      rotaryDim: 16,
      theta: 7,
    });
  });
});

describe("Bamba's layers", () => {
  test('by numbers, or by a list, but not by two that differ', () => {
    const layers = (change: JsonObject) => readBambaConfig({ ...PREFIXED, ...change }).attnLayerIndices;
    const layer_types = ['mamba', 'attention', 'linear_attention'];
    expect(layers({ attn_layer_indices: [1] })).toEqual([1]);
    expect(layers({ layer_types })).toEqual([1]);
    expect(layers({ layers_block_type: layer_types, attn_layer_indices: [1] })).toEqual([1]);
    expect(() => layers({ layer_types, attn_layer_indices: [2] })).toThrow(/attn_layer_indices/);
  });
});

describe('Granite', () => {
  test('old and new names of layers, under either key', () => {
    const types = ['linear_attention', 'full_attention', 'linear_attention'];
    const old = ['mamba', 'attention', 'mamba'];
    for (const change of [{ layer_types: types }, { layer_types: old }, { layers_block_type: old }]) {
      expect(readGraniteMoeHybridConfig({ ...PREFIXED, ...change }).layerTypes).toEqual(types);
    }
    expect(readGraniteMoeHybridConfig(PREFIXED).layerTypes).toEqual(Array(3).fill('linear_attention'));
  });

  test('layers of another kind or number: ConfigError', () => {
    for (const layer_types of [['mamba'], ['mamba', 'mlp', 'mamba'], 'mamba']) {
      expect(() => readGraniteMoeHybridConfig({ ...PREFIXED, layer_types })).toThrow(ConfigError);
    }
  });

  test('with and without rotary embedding', () => {
    const rope = (change: JsonObject) => readGraniteMoeHybridConfig({ ...PREFIXED, ...change }).rope;
    expect(rope({})).toBeUndefined();
    expect(rope({ position_embedding_type: null })).toBeUndefined();
    expect(rope({ position_embedding_type: 'nope' })).toBeUndefined();
    expect(rope({ position_embedding_type: 'rope', rope_theta: 5 })).toMatchObject({ theta: 5, rotaryDim: 16 });
    expect(() => rope({ position_embedding_type: 'alibi' })).toThrow(ConfigError);
  });

  test('without experts, however many a token would visit', () => {
    const config = readGraniteMoeHybridConfig({ ...PREFIXED, num_local_experts: 0, num_experts_per_tok: 0 });
    expect(config).toMatchObject({ numLocalExperts: 0 });
    expect(() => readGraniteMoeHybridConfig({ ...PREFIXED, num_local_experts: 2, num_experts_per_tok: 3 })).toThrow(
      ConfigError,
    );
  });

  test('every multiplier; logits are divided by theirs', () => {
    const multipliers = {
      embedding_multiplier: 12,
      attention_multiplier: 0.015625,
      residual_multiplier: 0.22,
      logits_scaling: 8,
    };
    expect(readGraniteMoeHybridConfig({ ...PREFIXED, ...multipliers })).toMatchObject({
      embeddingMultiplier: 12,
      attentionMultiplier: 0.015625,
      residualMultiplier: 0.22,
      logitsMultiplier: 1 / 8,
    });
    expect(readGraniteMoeHybridConfig(PREFIXED)).toMatchObject({ attentionMultiplier: 1, logitsMultiplier: 1 });
  });
});

describe('Falcon-H1', () => {
  const json = { ...PREFIXED, mamba_d_ssm: 128 };

  test('mamba_d_ssm given, null, or absent', () => {
    const size = (change: JsonObject) => readFalconH1Config({ ...PREFIXED, ...change }).mixer;
    expect(size({ mamba_d_ssm: 96, mamba_n_heads: 6 })).toMatchObject({ intermediateSize: 96, numHeads: 6 });
    expect(size({ mamba_d_ssm: 96, mamba_n_heads: 6, mamba_d_head: 'auto' })).toMatchObject({ headDim: 16 });
    expect(size({ mamba_d_ssm: null })).toMatchObject({ intermediateSize: 128 });
    // transformers' default is a number, not the expanded size.
    expect(size({ mamba_n_heads: 64 })).toMatchObject({ intermediateSize: 1024 });
  });

  test('with and without the norm, and on which side of the gate', () => {
    expect(readFalconH1Config(json).mixer).toMatchObject({ useRmsNorm: false, normBeforeGate: true });
    const change = { mamba_rms_norm: true, mamba_norm_before_gate: false };
    expect(readFalconH1Config({ ...json, ...change }).mixer).toMatchObject({ useRmsNorm: true, normBeforeGate: false });
  });

  test('biases of in-projection, out-projection, attention and feed-forward are four switches', () => {
    const biases = (change: JsonObject) => {
      const { mixer, attentionBias, mlpBias } = readFalconH1Config({ ...json, ...change });
      return [mixer.useBias, mixer.useOutBias, attentionBias, mlpBias];
    };
    expect(biases({})).toEqual([false, false, false, false]);
    expect(biases({ mamba_proj_bias: true })).toEqual([true, false, false, false]);
    expect(biases({ projectors_bias: true })).toEqual([false, true, false, false]);
    expect(biases({ attention_bias: true })).toEqual([false, false, true, false]);
    expect(biases({ mlp_bias: true })).toEqual([false, false, false, true]);
  });

  test('every multiplier is 1 unless given', () => {
    expect(readFalconH1Config({ ...json, ssm_multipliers: null, mlp_multipliers: null })).toMatchObject({
      embeddingMultiplier: 1,
      logitsMultiplier: 1,
      keyMultiplier: 1,
      attentionInMultiplier: 1,
      attentionOutMultiplier: 1,
      ssmInMultiplier: 1,
      ssmOutMultiplier: 1,
      ssmMultipliers: [1, 1, 1, 1, 1],
      mlpMultipliers: [1, 1],
    });
    expect(() => readFalconH1Config({ ...json, ssm_multipliers: [1, 2] })).toThrow(/ssm_multipliers.*5 numbers/);
  });
});

describe('Nemotron-H', () => {
  const read = (change: JsonObject = {}) => readNemotronHConfig({ vocab_size: 50, hidden_size: 64, ...change });

  test('the intermediate size is heads times head dim, whatever expand says', () => {
    const { mixer } = read({ mamba_num_heads: 12, mamba_head_dim: 80, n_groups: 4, expand: 2 });
    expect(mixer).toMatchObject({ intermediateSize: 960, numHeads: 12, headDim: 80, nGroups: 4 });
  });

  test('8 groups, also of the norm', () => {
    expect(read().mixer.nGroups).toBe(8);
    expect(read().mixer.normGroups).toBeUndefined();
  });

  test('layers as a pattern, or as a list of new or old names; the list wins, and num_hidden_layers never does', () => {
    const types = ['linear_attention', 'mlp', 'full_attention', 'moe'];
    const list = ['mamba', 'mlp', 'attention', 'moe'];
    for (const change of [
      { hybrid_override_pattern: 'M-*E' },
      { layers_block_type: types },
      { layers_block_type: list },
      { layer_types: list, hybrid_override_pattern: 'MM' },
    ]) {
      expect(read({ ...change, num_hidden_layers: 52 })).toMatchObject({ layerTypes: types, numHiddenLayers: 4 });
    }
    expect(() => read({ hybrid_override_pattern: 'M?' })).toThrow(/'\?'/);
    expect(() => read({ layers_block_type: ['hybrid'] })).toThrow(ConfigError);
  });

  test('attention has no biases, whatever attention_bias says', () => {
    const json = { architectures: ['NemotronHForCausalLM'], vocab_size: 9, hidden_size: 8, head_dim: 4 };
    const context = new LayerContext(new ReferenceBackend(), singleProcess, 'float32');
    const model = defineModel({ ...json, hybrid_override_pattern: '*', attention_bias: true }).create(context);
    expect([...model.parameters()].filter(([name]) => name.endsWith('.bias'))).toEqual([]);
  });

  test("older names of the mixer's keys come first, as in transformers", () => {
    const old = { mamba_d_conv: 3, mamba_n_groups: 2, mamba_chunk_size: 64, mamba_conv_bias: false };
    const { mixer } = read({ ...old, conv_kernel: 4, n_groups: 8, chunk_size: 128, use_conv_bias: true });
    expect(mixer).toMatchObject({ convKernelSize: 3, nGroups: 2, chunkSize: 64, useConvBias: false });
  });

  test("an attention head dim of its own, under today's name and the first one", () => {
    expect(read().attentionHeadDim).toBe(128);
    expect(read({ head_dim: 16 }).attentionHeadDim).toBe(16);
    expect(read({ attention_head_dim: 32 }).attentionHeadDim).toBe(32);
  });

  test('one intermediate size, or one for each feed-forward layer', () => {
    const sizes = (intermediate_size: number | number[]) =>
      read({ hybrid_override_pattern: '-M-', intermediate_size }).intermediateSizes;
    expect(sizes(96)).toEqual([96, 96]);
    expect(sizes([96])).toEqual([96, 96]);
    expect(sizes([96, 32])).toEqual([96, 32]);
    expect(() => sizes([1, 2, 3])).toThrow(ConfigError);
  });

  test('experts', () => {
    const { moe } = read({
      hybrid_override_pattern: 'ME',
      n_routed_experts: 128,
      num_experts_per_tok: 6,
      moe_intermediate_size: 1856,
      moe_shared_expert_intermediate_size: 3712,
      n_group: 4,
      topk_group: 2,
      routed_scaling_factor: 2.5,
    });
    expect(moe).toEqual({
      numExperts: 128,
      intermediateSize: 1856,
      sharedIntermediateSize: 3712,
      latentSize: undefined,
      routing: { topK: 6, scoring: 'sigmoid', numGroups: 4, topKGroups: 2, renormalize: true, scale: 2.5 },
    });
    expect(() => read({ hybrid_override_pattern: 'E', n_routed_experts: 4, num_experts_per_tok: 5 })).toThrow(
      ConfigError,
    );
    expect(() => read({ hybrid_override_pattern: 'E', n_routed_experts: 4, n_group: 3 })).toThrow(ConfigError);
    expect(() => read({ hybrid_override_pattern: 'M', n_routed_experts: 0 })).not.toThrow();
  });

  test('block_configs list the layers, whose entries come before those of the model', () => {
    const { layerTypes, layers, intermediateSizes, moe } = read({
      num_hidden_layers: null,
      hybrid_override_pattern: 'MM',
      n_routed_experts: 4,
      num_key_value_heads: 2,
      block_configs: [
        { block_type: 'moe', moe_intermediate_size: 12, num_experts_per_tok: 1 },
        { block_type: 'attention', num_key_value_heads: 8, sliding_window: null },
        { block_type: 'moe', moe_intermediate_size: 20, num_experts_per_tok: 3 },
        { block_type: 'mlp', intermediate_size: 7 },
        { block_type: 'mamba', mamba_num_heads: 16 },
      ],
    });
    expect(layerTypes).toEqual(['moe', 'full_attention', 'moe', 'mlp', 'linear_attention']);
    expect(layers?.map((layer) => layer.moe.intermediateSize)).toEqual([12, 7688, 20, 7688, 7688]);
    expect(layers?.map((layer) => layer.moe.routing.topK)).toEqual([1, 2, 3, 2, 2]);
    expect(layers?.map((layer) => layer.numKeyValueHeads)).toEqual([2, 8, 2, 2, 2]);
    expect(layers?.[4].mixer.numHeads).toBe(16);
    expect(intermediateSizes).toEqual([7]);
    expect(moe.intermediateSize).toBe(12);
  });

  test('windows of attention: those of single layers, or the one of the model', () => {
    const windows = (change: JsonObject, ...own: (number | null | undefined)[]) =>
      read({
        ...change,
        block_configs: own.map((window) => ({
          block_type: 'attention',
          ...(window === undefined ? {} : { sliding_window: window }),
        })),
      }).layers?.map(({ slidingWindow }) => slidingWindow);
    expect(windows({}, undefined, null, 512, 4)).toEqual([undefined, undefined, 512, 4]);
    expect(windows({ sliding_window: 3 }, undefined, null, 512)).toEqual([undefined, undefined, 512]);
    expect(windows({ sliding_window: 3 }, undefined)).toEqual([3]);
    expect(read({ sliding_window: 7 }).slidingWindow).toBe(7);
    expect(read({ sliding_window: null }).slidingWindow).toBeUndefined();
  });

  test('a window of 0 is refused where there is attention, and means nothing elsewhere', () => {
    expect(() => read({ hybrid_override_pattern: 'M*', sliding_window: 0 })).toThrow(/'sliding_window'/);
    expect(read({ hybrid_override_pattern: 'M-', sliding_window: 0 }).slidingWindow).toBeUndefined();
    const blocks = [
      { block_type: 'mamba', sliding_window: 0 },
      { block_type: 'attention', sliding_window: 8 },
    ];
    const { layers } = read({ block_configs: blocks });
    expect(layers?.[1].slidingWindow).toBe(8);
    expect(() => read({ sliding_window: 0, block_configs: [{ block_type: 'mamba' }] })).not.toThrow();
  });

  test('an error in block_configs names the layer', () => {
    const blocks =
      (...block_configs: JsonObject[]) =>
      () =>
        read({ block_configs });
    expect(blocks({ block_type: 'mamba' }, { block_type: 'no_op' })).toThrow(/block_configs\[1\].*'block_type'/);
    expect(blocks({})).toThrow(/block_configs\[0\].*'block_type'/);
    expect(blocks({ block_type: 'attention', sliding_window: 0 })).toThrow(/block_configs\[0\].*'sliding_window'/);
    const tooMany = { block_type: 'moe', n_routed_experts: 4, num_experts_per_tok: 5 };
    expect(blocks(tooMany)).toThrow(/block_configs\[0\]: 5 of 4 experts/);
    expect(() => read({ block_configs: 5 })).toThrow(ConfigError);
  });
});

describe('Zamba2', () => {
  const read = (change: JsonObject = {}) =>
    readZamba2Config({
      hidden_size: 64,
      num_hidden_layers: 3,
      num_attention_heads: 4,
      layers_block_type: ['mamba', 'hybrid', 'linear_attention'],
      ...change,
    });

  test('time-step fields that are null', () => {
    const nulls = { time_step_limit: null, time_step_min: null, time_step_max: null, time_step_floor: null };
    expect(read(nulls).mixer.timeStepLimit).toEqual([0, Number.POSITIVE_INFINITY]);
    expect(read({ time_step_limit: [0.1, 3] }).mixer.timeStepLimit).toEqual([0.1, 3]);
  });

  test('sizes follow from others, whatever the keys that repeat them say', () => {
    const config = read({ mamba_headdim: 99, attention_head_dim: 99, kv_channels: 99, n_mamba_heads: 4 });
    expect(config).toMatchObject({ attentionHeadDim: 32, mixer: { headDim: 32, intermediateSize: 128 } });
    expect(read()).toMatchObject({ intermediateSize: 256, numKeyValueHeads: 4 });
    expect(read({ intermediate_size: null, num_key_value_heads: null })).toMatchObject({
      intermediateSize: 256,
      numKeyValueHeads: 4,
    });
  });

  test("the mixers' norm has an epsilon of its own, and the convolution its bias", () => {
    expect(read({ rms_norm_eps: 1e-3, use_conv_bias: false })).toMatchObject({
      normEps: 1e-3,
      mixer: { rmsNormEps: 1e-5, useConvBias: true },
    });
  });

  test('with and without rotary embedding, but not with the long context that versions disagree about', () => {
    expect(read().rope).toBeUndefined();
    expect(read({ use_mem_rope: true, rope_theta: 5 }).rope).toMatchObject({ theta: 5, rotaryDim: 32 });
    expect(read({ use_long_context: true }).rope).toBeUndefined();
    const long = { use_mem_rope: true, use_long_context: true };
    expect(() => read({ ...long, rope_theta: 5 })).toThrow(/use_long_context/);
    // Version 5 of transformers, which writes rope_parameters, takes the base as it is.
    expect(read({ ...long, rope_parameters: { rope_type: 'default', rope_theta: 5 } }).rope).toMatchObject({
      theta: 5,
    });
  });

  test("the first layout's keys, where their successors are absent", () => {
    const old = {
      ffn_hidden_size: 96,
      state_size: 16,
      conv_dimension: 3,
      expansion_factor: 3,
      mamba_headdim: 16,
      mamba_ngroups: 2,
      lora_rank: 8,
      use_shared_attention_lora: true,
      use_shared_block_lora: true,
      gated_linear_unit: true,
      ft_lora: false,
      layers_block_type: ['m', 'g', 'm'],
    };
    const current = {
      intermediate_size: 96,
      mamba_d_state: 16,
      mamba_d_conv: 3,
      mamba_expand: 3,
      n_mamba_heads: 12,
      mamba_ngroups: 2,
      adapter_rank: 8,
      use_shared_attention_adapter: true,
    };
    expect(read(old)).toEqual(read(current));
    const leftover = { ...old, layers_block_type: undefined, ...current, state_size: 99, ffn_hidden_size: 99 };
    expect(read({ ...JSON.parse(JSON.stringify(leftover)), n_mamba_heads: 12 })).toEqual(read(current));
    expect(read({ lora_rank: 8 }).mixer).toMatchObject({ numHeads: 2, headDim: 64 });
    expect(read({ mamba_headdim: 32 }).mixer).toMatchObject({ numHeads: 4, headDim: 32 });
  });

  test.each([
    ['gated_linear_unit', false],
    ['use_shared_block_lora', false],
    ['use_low_rank_mamba_proj', true],
    ['ft_lora', true],
    ['mamba_headdim', 48],
  ])("the first layout's %s %s makes another model: ConfigError", (key, value) => {
    expect(() => read({ [key]: value })).toThrow(ConfigError);
    expect(() => read({ [key]: value })).toThrow(new RegExp(key));
  });

  test("the first layout's weights are refused by a key of its config", () => {
    const stored = ['model.embed_tokens.weight', 'model.mamba_layers.0.mamba.in_proj.0.weight'];
    expect(() => readZamba2Config({ ffn_hidden_size: 96 }, stored)).toThrow(/'ffn_hidden_size'.*model\.mamba_layers/);
  });

  test('layers by the numbers of the hybrid ones, where no list names all', () => {
    const hybrids = (change: JsonObject) => read({ layers_block_type: null, ...change }).layerTypes;
    expect(hybrids({ hybrid_layer_ids: [1] })).toEqual(['linear_attention', 'hybrid', 'linear_attention']);
    expect(() => hybrids({ hybrid_layer_ids: [3] })).toThrow(ConfigError);
  });

  test("the layers of Zamba2-2.7B are transformers' default", () => {
    const { layerTypes } = readZamba2Config({ n_mamba_heads: 80 });
    expect(layerTypes).toHaveLength(54);
    expect(layerTypes.filter((type) => type === 'hybrid')).toHaveLength(9);
    expect([...layerTypes.keys()].filter((i) => layerTypes[i] === 'hybrid')).toEqual([
      6, 12, 18, 24, 30, 36, 42, 47, 51,
    ]);
  });
});

describe('PLaMo 2', () => {
  const read = (change: JsonObject = {}) => readPlamo2Config({ hidden_size: 64, num_attention_heads: 4, ...change });
  const mixers = (change: JsonObject) => {
    const json = { model_type: 'plamo2', vocab_size: 9, hidden_size: 8, num_attention_heads: 4, ...change };
    const sizes = { hidden_size_per_head: 4, mamba_num_heads: 2, mamba_d_state: 2, intermediate_size: 4 };
    const model = defineModel({ ...json, ...sizes }).create(
      new LayerContext(new ReferenceBackend(), singleProcess, 'float32'),
    );
    return model.layerMap.map(([part]) => part === 'mixer');
  };

  test('one layer in each step has attention', () => {
    expect(mixers({ num_hidden_layers: 4 })).toEqual([true, false, true, false]);
    expect(mixers({ num_hidden_layers: 6, mamba_step: 3 })).toEqual([true, false, true, true, false, true]);
    expect(mixers({ num_hidden_layers: 3, mamba_step: 8 })).toEqual([true, true, false]);
    expect(mixers({ num_hidden_layers: 2, mamba_enabled: false })).toEqual([false, false]);
  });

  test('sizes and defaults', () => {
    expect(read()).toMatchObject({ numKeyValueHeads: 4, headDim: 128, timeStepRank: 64, tieWordEmbeddings: true });
    expect(read({ hidden_size: 4096 }).timeStepRank).toBe(256);
    expect(read({ rope_theta: 1e6 }).rope?.theta).toBe(1e6);
    expect(() => read({ num_key_value_heads: 3 })).toThrow(ConfigError);
    expect(() => read({ mamba_step: 1 })).toThrow(/mamba_step/);
    expect(read()).toMatchObject({ slidingWindow: 2049, fullAttentionLayers: [] });
    const windows = read({ attention_window_size: 4, full_attention_idx: [1, 3] });
    expect(windows).toMatchObject({ slidingWindow: 5, fullAttentionLayers: [1, 3] });
    expect(() => read({ full_attention_idx: 3 })).toThrow(/full_attention_idx/);
    expect(() => read({ attention_window_size: 0 })).toThrow(/attention_window_size/);
  });
});
