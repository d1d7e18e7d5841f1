import { afterAll, describe, expect, test } from 'vitest';
import type { JsonObject } from '../../src/checkpoint/json/json.ts';
import { singleProcess } from '../../src/distributed/process-group.ts';
import { RankPool } from '../distributed/run-ranks.ts';
import { largestError } from '../layers/seeded.ts';
import { ModelRig, type RigModel } from './model-rig.ts';

const pool = new RankPool<typeof import('./model-rig.ts')>(new URL('./model-rig.ts', import.meta.url));
afterAll(() => pool.close());

const COMMON = { vocab_size: 37, hidden_size: 24, num_attention_heads: 6, num_key_value_heads: 2, rope_theta: 100 };
const PREFIXED = {
  ...COMMON,
  num_hidden_layers: 3,
  intermediate_size: 20,
  mamba_n_heads: 6,
  mamba_d_head: 'auto',
  mamba_d_state: 5,
  mamba_n_groups: 2,
  mamba_chunk_size: 4,
};

/** Configurations unlike the golden ones: everything switched the other way, sizes that nothing divides. */
const VARIANTS: Record<string, JsonObject> = {
  'Bamba with biases, one key-value head and linear scaling': {
    architectures: ['BambaForCausalLM'],
    ...PREFIXED,
    num_key_value_heads: 1,
    attn_layer_indices: [0, 2],
    attention_bias: true,
    mlp_bias: true,
    mamba_proj_bias: true,
    mamba_conv_bias: false,
    rope_scaling: { type: 'linear', factor: 2 },
    tie_word_embeddings: true,
  },
  'Granite without experts, rotated, tied': {
    architectures: ['GraniteMoeHybridForCausalLM'],
    ...PREFIXED,
    layer_types: ['attention', 'mamba', 'attention'],
    num_local_experts: 0,
    num_experts_per_tok: 0,
    shared_intermediate_size: 18,
    position_embedding_type: 'rope',
    residual_multiplier: 0.3,
    attention_multiplier: 0.2,
    logits_scaling: 4,
    tie_word_embeddings: true,
  },
  'Granite with experts, biased attention, heads of their own size': {
    architectures: ['GraniteMoeHybridForCausalLM'],
    ...PREFIXED,
    layer_types: ['mamba', 'attention', 'mamba'],
    head_dim: 6,
    num_local_experts: 5,
    num_experts_per_tok: 3,
    shared_intermediate_size: 10,
    attention_bias: true,
    embedding_multiplier: 2,
  },
  'Falcon-H1 with a norm after the gate, in groups, and biases': {
    architectures: ['FalconH1ForCausalLM'],
    ...PREFIXED,
    mamba_d_ssm: null,
    mamba_rms_norm: true,
    mamba_norm_before_gate: false,
    projectors_bias: true,
    attention_bias: true,
    mlp_bias: true,
    key_multiplier: 0.5,
    ssm_multipliers: [0.5, 1.5, 0.7, 1.3, 0.9],
    mlp_multipliers: [0.7, 1.2],
    lm_head_multiplier: 0.5,
  },
  'Falcon-H1 with a norm before the gate': {
    architectures: ['FalconH1ForCausalLM'],
    ...PREFIXED,
    mamba_d_ssm: 36,
    mamba_n_groups: 1,
    mamba_rms_norm: true,
    mamba_norm_before_gate: true,
    mamba_proj_bias: true,
    rope_parameters: { rope_type: 'yarn', rope_theta: 100, factor: 4, original_max_position_embeddings: 16 },
  },
  'Nemotron-H with experts in groups and fewer columns, and biases': {
    architectures: ['NemotronHForCausalLM'],
    ...COMMON,
    hybrid_override_pattern: 'ME*-E',
    head_dim: 4,
    intermediate_size: 14,
    mamba_num_heads: 6,
    mamba_head_dim: 7,
    n_groups: 3,
    ssm_state_size: 5,
    chunk_size: 4,
    use_bias: true,
    mlp_bias: true,
    attention_bias: true,
    n_routed_experts: 8,
    num_experts_per_tok: 3,
    n_group: 4,
    topk_group: 2,
    moe_intermediate_size: 6,
    moe_shared_expert_intermediate_size: 10,
    moe_latent_size: 9,
    routed_scaling_factor: 2.5,
  },
  'Zamba2 with two blocks, attention adapters, rotation and biases': {
    architectures: ['Zamba2ForCausalLM'],
    ...COMMON,
    num_key_value_heads: 6,
    num_hidden_layers: 6,
    layers_block_type: ['mamba', 'hybrid', 'hybrid', 'mamba', 'hybrid', 'hybrid'],
    num_mem_blocks: 2,
    intermediate_size: 14,
    n_mamba_heads: 6,
    mamba_d_state: 5,
    mamba_ngroups: 2,
    chunk_size: 4,
    add_bias_linear: true,
    use_mem_rope: true,
    use_shared_attention_adapter: true,
    adapter_rank: 3,
    tie_word_embeddings: false,
  },
};

const IDS = Array.from({ length: 23 }, (_, i) => (i * i + 5 * i) % 37);
const PIECES = [5, 1, 1, 9, 1];

describe.each(Object.entries(VARIANTS))('%s', (_, config) => {
  const model = (device: RigModel['device'], dtype?: RigModel['dtype']): RigModel => ({
    source: { config, seed: 11 },
    device,
    dtype,
  });

  test('on ranks that divide some of its sizes, in pieces, gives what one rank gives at once', async () => {
    const whole = await (await ModelRig.load(model('reference'), singleProcess)).prompt(IDS);
    expect(whole.every(Number.isFinite)).toBe(true);
    for (const ranks of [2, 3, 4, 5]) {
      const input = { model: model('reference'), tokenIds: IDS, pieces: PIECES, count: 0 };
      for (const { logits } of await pool.run('runGolden', ranks, input)) {
        expect(largestError(logits, whole)).toBeLessThan(1e-4);
      }
    }
  });

  test('on cpu gives what the reference gives, and pieces the same bits as the whole', async () => {
    const expected = await (await ModelRig.load(model('reference'), singleProcess)).prompt(IDS);
    const rig = await ModelRig.load(model('cpu'), singleProcess);
    const whole = await rig.prompt(IDS);
    expect(largestError(whole, expected)).toBeLessThan(5e-4);
    expect(await rig.prompt(IDS, PIECES, 1)).toEqual(whole);
  });

  test.each(['bfloat16', 'float16', 'int8', 'int4'] as const)('%s weights: the same bits in pieces', async (dtype) => {
    const rig = await ModelRig.load(model('cpu', dtype), singleProcess);
    const whole = await rig.prompt(IDS);
    expect(whole.every(Number.isFinite)).toBe(true);
    expect(await rig.prompt(IDS, PIECES, 1)).toEqual(whole);
  });
});
