import { describe, expect, test } from 'vitest';
import { describeGguf } from '../../../src/checkpoint/gguf/describe-gguf.ts';
import type { Gguf } from '../../../src/checkpoint/gguf/gguf.ts';
import {
  ConfigError,
  GgufError,
  MissingTensorError,
  UnexpectedTensorError,
  UnsupportedArchitectureError,
} from '../../../src/errors.ts';
import { defineModel } from '../../../src/models/registry.ts';
import { madeGguf } from './made-gguf.ts';

type Shapes = Readonly<Record<string, readonly number[]>>;
type Metadata = Parameters<typeof madeGguf>[0];

const [hidden, inner, heads, groups, state, vocab] = [8, 16, 4, 2, 3, 24];
const channels = inner + 2 * groups * state;

const ends: Shapes = { 'token_embd.weight': [vocab, hidden], 'output_norm.weight': [hidden] };

const mixer = (i: number): Shapes => ({
  [`blk.${i}.attn_norm.weight`]: [hidden],
  [`blk.${i}.ssm_in.weight`]: [inner + channels + heads, hidden],
  [`blk.${i}.ssm_conv1d.weight`]: [channels, 4],
  [`blk.${i}.ssm_conv1d.bias`]: [channels],
  [`blk.${i}.ssm_dt.bias`]: [heads],
  [`blk.${i}.ssm_a`]: [heads, 1],
  [`blk.${i}.ssm_d`]: [heads, 1],
  [`blk.${i}.ssm_norm.weight`]: [groups, inner / groups],
  [`blk.${i}.ssm_out.weight`]: [hidden, inner],
});

const attention = (i: number): Shapes => ({
  [`blk.${i}.attn_norm.weight`]: [hidden],
  [`blk.${i}.attn_q.weight`]: [16, hidden],
  [`blk.${i}.attn_k.weight`]: [8, hidden],
  [`blk.${i}.attn_v.weight`]: [8, hidden],
  [`blk.${i}.attn_output.weight`]: [hidden, 16],
});

const sizes = (architecture: string, layers: number): Metadata => ({
  'general.architecture': architecture,
  [`${architecture}.block_count`]: layers,
  [`${architecture}.embedding_length`]: hidden,
  [`${architecture}.ssm.inner_size`]: inner,
  [`${architecture}.ssm.time_step_rank`]: heads,
  [`${architecture}.ssm.group_count`]: groups,
  [`${architecture}.ssm.state_size`]: state,
  [`${architecture}.ssm.conv_kernel`]: 4,
  [`${architecture}.attention.layer_norm_rms_epsilon`]: 0.00001,
});

const attentionSizes = (architecture: string): Metadata => ({
  [`${architecture}.attention.head_count`]: 2,
  [`${architecture}.attention.key_length`]: 8,
});

const mamba2 = (metadata: Metadata = {}, tensors: Shapes = {}) =>
  madeGguf({ ...sizes('mamba2', 1), ...metadata }, { ...ends, ...mixer(0), ...tensors });

const mlp = (i: number, suffix = ''): Shapes => ({
  [`blk.${i}.ffn_norm.weight`]: [hidden],
  [`blk.${i}.ffn_gate${suffix}.weight`]: [5, hidden],
  [`blk.${i}.ffn_up${suffix}.weight`]: [5, hidden],
  [`blk.${i}.ffn_down${suffix}.weight`]: [hidden, 5],
});

const graniteSizes = {
  ...sizes('granitehybrid', 2),
  ...attentionSizes('granitehybrid'),
  'granitehybrid.attention.head_count_kv': [0, 1],
};

const granite = (metadata: Metadata = {}, tensors: Shapes = {}) =>
  madeGguf(
    { ...graniteSizes, 'granitehybrid.rope.scaling.finetuned': false, ...metadata },
    { ...ends, ...mixer(0), ...mlp(0), ...attention(1), ...mlp(1), ...tensors },
  );

/** Values of a tensor under its name of Hugging Face, and of one under llama.cpp's. */
const read = async (gguf: Gguf, name: string) => [
  ...((await describeGguf(gguf).tensors.get(name)?.readFloat32()) ?? []),
];
const stored = async (gguf: Gguf, name: string) => [...((await gguf.tensors.get(name)?.readFloat32()) ?? [])];

describe('a GGUF of Mamba-2', () => {
  test('has the config that its metadata and tensors say', () => {
    const { config, tensors } = describeGguf(mamba2());
    expect(config).toMatchObject({
      hidden_size: hidden,
      vocab_size: vocab,
      num_heads: heads,
      head_dim: inner / heads,
      n_groups: groups,
      tie_word_embeddings: true,
    });
    expect(defineModel(config, tensors.keys()).config).toMatchObject({ numHiddenLayers: 1, tieWordEmbeddings: true });
    expect(tensors.get('backbone.layers.0.mixer.conv1d.weight')?.shape).toEqual([channels, 1, 4]);
    expect(tensors.get('backbone.layers.0.mixer.norm.weight')?.shape).toEqual([inner]);
    expect(tensors.get('backbone.layers.0.mixer.A')?.shape).toEqual([heads]);
  });

  test('has its tensors in the order of the data', () => {
    const { tensors } = describeGguf(mamba2());
    expect([...tensors.keys()].slice(0, 4)).toEqual([
      'backbone.embeddings.weight',
      'backbone.norm_f.weight',
      'backbone.layers.0.norm.weight',
      'backbone.layers.0.mixer.in_proj.weight',
    ]);
  });

  test('has a head of its own where it has one', () => {
    const { config, tensors } = describeGguf(mamba2({}, { 'output.weight': [vocab, hidden] }));
    expect(config.tie_word_embeddings).toBe(false);
    expect(tensors.has('lm_head.weight')).toBe(true);
  });

  test('names the tokens that end a text, and how to sample', () => {
    const tokens = {
      'tokenizer.ggml.bos_token_id': 1,
      'tokenizer.ggml.eos_token_id': 2,
      'tokenizer.ggml.eot_token_id': 5,
      'tokenizer.ggml.eom_token_id': 2,
      'general.sampling.temp': 0.5,
      'general.sampling.top_k': 20,
    };
    const { config, generationConfig } = describeGguf(mamba2(tokens));
    expect(config).toMatchObject({ bos_token_id: 1, eos_token_id: 2 });
    expect(generationConfig).toEqual({ bos_token_id: 1, eos_token_id: [2, 5], temperature: 0.5, top_k: 20 });
  });
});

describe('a GGUF is refused', () => {
  test('with an architecture that is not known: the error says which are', () => {
    const gguf = madeGguf({ 'general.architecture': 'llama' }, {});
    expect(() => describeGguf(gguf)).toThrow(UnsupportedArchitectureError);
    expect(() => describeGguf(gguf)).toThrow(/'llama'.*mamba2, granitehybrid, falcon-h1, nemotron_h, nemotron_h_moe/s);
  });

  test.each([
    ['without an architecture', {}, {}, GgufError, "'general.architecture'"],
    ['without a size', { ...sizes('mamba2', 1), 'mamba2.ssm.state_size': 'x' }, ends, GgufError, 'ssm.state_size'],
    ['with heads that do not fit', { ...sizes('mamba2', 1), 'mamba2.ssm.time_step_rank': 5 }, ends, ConfigError, '5'],
    ['with more layers than it has', sizes('mamba2', 2 ** 40), ends, MissingTensorError, "'blk.1.ssm_in.weight'"],
  ] as const)('%s', (_, metadata, tensors, error, message) => {
    const gguf = madeGguf(metadata, { ...tensors, ...mixer(0) });
    expect(() => describeGguf(gguf)).toThrow(error);
    expect(() => describeGguf(gguf)).toThrow(message);
  });

  test('without one of its tensors', () => {
    const { 'blk.0.ssm_d': _, ...others } = mixer(0);
    const gguf = madeGguf(sizes('mamba2', 1), { ...ends, ...others });
    expect(() => describeGguf(gguf)).toThrow(MissingTensorError);
    expect(() => describeGguf(gguf)).toThrow("'blk.0.ssm_d'");
  });

  test('with a tensor that models of its kind do not have', () => {
    const gguf = mamba2({}, { 'blk.0.ssm_x.weight': [2, 2], 'rope_freqs.weight': [2] });
    expect(() => describeGguf(gguf)).toThrow(UnexpectedTensorError);
    expect(() => describeGguf(gguf)).toThrow("'blk.0.ssm_x.weight' and 1 more");
  });
});

describe('a GGUF of Granite', () => {
  test('has gate and up in one tensor, and queries and keys as they lie', async () => {
    const gguf = granite();
    const { config } = describeGguf(gguf);
    expect(config).toMatchObject({
      architectures: ['GraniteMoeHybridForCausalLM'],
      layer_types: ['mamba', 'attention'],
      position_embedding_type: 'nope',
      attention_multiplier: 8 ** -0.5,
      num_local_experts: 0,
      shared_intermediate_size: 5,
    });
    expect(await read(gguf, 'model.layers.0.shared_mlp.input_linear.weight')).toEqual([
      ...(await stored(gguf, 'blk.0.ffn_gate.weight')),
      ...(await stored(gguf, 'blk.0.ffn_up.weight')),
    ]);
    expect(await read(gguf, 'model.layers.1.self_attn.q_proj.weight')).toEqual(
      await stored(gguf, 'blk.1.attn_q.weight'),
    );
  });

  test('with rotary positions and factors stays Granite', async () => {
    const gguf = granite({ 'granitehybrid.rope.scaling.finetuned': true, 'granitehybrid.logit_scale': 3 });
    expect(describeGguf(gguf).config).toMatchObject({
      architectures: ['GraniteMoeHybridForCausalLM'],
      position_embedding_type: 'rope',
      logits_scaling: 3,
      rope_theta: 10000,
    });
  });

  const experts = {
    'blk.0.ffn_gate_inp.weight': [3, hidden],
    'blk.0.ffn_gate_exps.weight': [3, 2, hidden],
    'blk.0.ffn_up_exps.weight': [3, 2, hidden],
    'blk.0.ffn_down_exps.weight': [3, hidden, 2],
  };
  const withExperts = (tensors: Shapes) =>
    madeGguf(
      {
        ...graniteSizes,
        'granitehybrid.block_count': 1,
        'granitehybrid.rope.scaling.finetuned': false,
        'granitehybrid.expert_count': 3,
        'granitehybrid.expert_used_count': 2,
      },
      { ...ends, ...mixer(0), ...mlp(0, '_shexp'), ...tensors },
    );

  test('has the matrices of each expert in one', async () => {
    const gguf = withExperts(experts);
    const { config, tensors } = describeGguf(gguf);
    expect(config).toMatchObject({ num_local_experts: 3, num_experts_per_tok: 2, intermediate_size: 2 });
    const values = await tensors
      .get('model.layers.0.block_sparse_moe.input_linear.weight')
      ?.readFloat32({ firstRow: 1, rows: 1 });
    const [gate, up] = await Promise.all(['gate', 'up'].map((part) => stored(gguf, `blk.0.ffn_${part}_exps.weight`)));
    expect([...(values ?? [])]).toEqual([...gate.slice(16, 32), ...up.slice(16, 32)]);
  });

  test('may have them in one already', async () => {
    const { 'blk.0.ffn_gate_exps.weight': _, 'blk.0.ffn_up_exps.weight': __, ...others } = experts;
    const gguf = withExperts({ ...others, 'blk.0.ffn_gate_up_exps.weight': [3, 4, hidden] });
    const name = 'model.layers.0.block_sparse_moe.input_linear.weight';
    expect(await read(gguf, name)).toEqual(await stored(gguf, 'blk.0.ffn_gate_up_exps.weight'));
  });
});

describe('a GGUF of Bamba', () => {
  const bamba = (metadata: Metadata = {}, tensors: Shapes = attention(1)) =>
    madeGguf({ ...graniteSizes, ...metadata }, { ...ends, ...mixer(0), ...mlp(0), ...mlp(1), ...tensors });

  test('is recognized by its rotary positions', () => {
    const gguf = bamba({ 'granitehybrid.rope.dimension_count': 4 });
    expect(describeGguf(gguf).config).toMatchObject({
      architectures: ['BambaForCausalLM'],
      attn_layer_indices: [1],
      partial_rotary_factor: 0.5,
      num_key_value_heads: 1,
    });
  });

  test('has the rotated rows of each head apart that lie next to each other', async () => {
    const gguf = bamba({ 'granitehybrid.rope.dimension_count': 4 });
    const rows = await stored(gguf, 'blk.1.attn_q.weight');
    const order = [0, 2, 1, 3, 4, 5, 6, 7, 8, 10, 9, 11, 12, 13, 14, 15];
    expect(await read(gguf, 'model.layers.1.self_attn.q_proj.weight')).toEqual(
      order.flatMap((row) => rows.slice(row * hidden, (row + 1) * hidden)),
    );
    expect(await read(gguf, 'model.layers.1.self_attn.v_proj.weight')).toEqual(
      await stored(gguf, 'blk.1.attn_v.weight'),
    );
  });

  test('may have queries, keys and values in one tensor', async () => {
    const fused = bamba(
      {},
      {
        'blk.1.attn_norm.weight': [hidden],
        'blk.1.attn_qkv.weight': [32, hidden],
        'blk.1.attn_output.weight': [hidden, 16],
      },
    );
    const rows = await stored(fused, 'blk.1.attn_qkv.weight');
    expect(await read(fused, 'model.layers.1.self_attn.v_proj.weight')).toEqual(rows.slice(24 * hidden));
    const order = [0, 2, 4, 6, 1, 3, 5, 7];
    expect(await read(fused, 'model.layers.1.self_attn.k_proj.weight')).toEqual(
      order.flatMap((row) => rows.slice((16 + row) * hidden, (17 + row) * hidden)),
    );
  });
});

describe('a GGUF of Nemotron-H', () => {
  const name = 'nemotron_h_moe';
  const experts = (i: number, size = 3): Shapes => ({
    [`blk.${i}.attn_norm.weight`]: [hidden],
    [`blk.${i}.ffn_gate_inp.weight`]: [6, hidden],
    [`blk.${i}.exp_probs_b.bias`]: [6],
    [`blk.${i}.ffn_latent_down.weight`]: [4, hidden],
    [`blk.${i}.ffn_latent_up.weight`]: [hidden, 4],
    [`blk.${i}.ffn_up_exps.weight`]: [6, size, 4],
    [`blk.${i}.ffn_down_exps.weight`]: [6, 4, size],
    [`blk.${i}.ffn_up_shexp.weight`]: [7, hidden],
    [`blk.${i}.ffn_down_shexp.weight`]: [hidden, 7],
  });
  const dense = (i: number): Shapes => ({
    [`blk.${i}.attn_norm.weight`]: [hidden],
    [`blk.${i}.ffn_up.weight`]: [9, hidden],
    [`blk.${i}.ffn_down.weight`]: [hidden, 9],
  });
  const metadata: Metadata = {
    ...sizes(name, 5),
    ...attentionSizes(name),
    [`${name}.attention.head_count_kv`]: [0, 0, 1, 0, 1],
    [`${name}.nextn_predict_layers`]: 1,
    [`${name}.expert_count`]: 6,
    [`${name}.expert_used_count`]: 2,
    [`${name}.expert_weights_norm`]: true,
    [`${name}.expert_weights_scale`]: 2.5,
    [`${name}.expert_group_count`]: 1,
  };
  const layers = { ...ends, ...mixer(0), ...experts(1), ...attention(2), ...dense(3) };
  const draft = { ...attention(4), ...experts(4), 'blk.4.nextn.eh_proj.weight': [hidden, 2 * hidden] };

  test('has layers of four kinds, experts in fewer columns, and no trailing block', () => {
    const { config, tensors } = describeGguf(madeGguf(metadata, { ...layers, ...draft }));
    expect(config).toMatchObject({
      layers_block_type: ['mamba', 'moe', 'attention', 'mlp'],
      intermediate_size: [9],
      n_routed_experts: 6,
      num_experts_per_tok: 2,
      moe_intermediate_size: 3,
      moe_shared_expert_intermediate_size: 7,
      moe_latent_size: 4,
      norm_topk_prob: true,
      routed_scaling_factor: 2.5,
    });
    expect(tensors.has('backbone.layers.1.mixer.experts.up_proj')).toBe(true);
    expect(tensors.has('backbone.layers.1.mixer.gate.e_score_correction_bias')).toBe(true);
    expect([...tensors.keys()].filter((each) => each.includes('layers.4'))).toEqual([]);
    expect(defineModel(config, tensors.keys()).config.numHiddenLayers).toBe(4);
  });

  test('is refused if layers have experts of different sizes, or different numbers of them', () => {
    const other = { ...layers, ...experts(3, 5) };
    const { 'blk.3.ffn_up.weight': _, 'blk.3.ffn_down.weight': __, ...puzzle } = other;
    expect(() => describeGguf(madeGguf(metadata, { ...puzzle, ...draft }))).toThrow(/3 and 5 rows/);
    const uneven = { ...metadata, [`${name}.expert_used_count`]: [0, 2, 0, 4, 2] };
    expect(() => describeGguf(madeGguf(uneven, { ...puzzle, ...draft }))).toThrow(ConfigError);
  });
});
