import { expect, test } from 'vitest';
import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import type { JsonObject } from '../../src/checkpoint/json/json.ts';
import { singleProcess } from '../../src/distributed/process-group.ts';
import { LayerContext } from '../../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../../src/layers/parameters/parameter.ts';
import { defineModel } from '../../src/models/registry.ts';
import { elementCount } from '../../src/tensor/tensor.ts';

/** So many layers of one kind, with others at these places. */
function layers(count: number, others: readonly number[], other: string): string[] {
  return Array.from({ length: count }, (_, i) => (others.includes(i) ? other : 'mamba'));
}

function granite(heads: readonly number[], config: JsonObject): JsonObject {
  return {
    architectures: ['GraniteMoeHybridForCausalLM'],
    vocab_size: 100352,
    num_attention_heads: heads[0],
    num_key_value_heads: heads[1],
    mamba_d_state: 128,
    position_embedding_type: 'nope',
    normalization_function: 'rmsnorm',
    tie_word_embeddings: true,
    ...config,
  };
}

function falcon(config: JsonObject): JsonObject {
  return {
    architectures: ['FalconH1ForCausalLM'],
    num_attention_heads: 8,
    num_key_value_heads: 2,
    head_dim: 64,
    mamba_n_heads: 24,
    mamba_n_groups: 1,
    mamba_norm_before_gate: false,
    mamba_use_mlp: true,
    attn_layer_indices: null,
    rope_theta: 1e11,
    rope_scaling: null,
    ...config,
  };
}

const NEMOTRON = {
  architectures: ['NemotronHForCausalLM'],
  vocab_size: 131072,
  head_dim: 128,
  n_groups: 8,
  ssm_state_size: 128,
  expand: 2,
};
const ZAMBA = { architectures: ['Zamba2ForCausalLM'], num_attention_heads: 32, adapter_rank: 128, use_mem_rope: true };

/** The sizes in configs of published models, and their parameters in millions, which round to what their publishers say. */
const PUBLISHED: [string, number, JsonObject][] = [
  [
    'granite-4.0-h-350m',
    340,
    granite([12, 4], {
      hidden_size: 768,
      num_hidden_layers: 32,
      layer_types: layers(32, [10, 13, 17, 27], 'attention'),
      shared_intermediate_size: 2048,
      num_local_experts: 0,
      num_experts_per_tok: 0,
      mamba_n_heads: 48,
      mamba_d_head: 32,
    }),
  ],
  [
    'granite-4.0-h-tiny',
    6939,
    granite([12, 4], {
      hidden_size: 1536,
      num_hidden_layers: 40,
      layer_types: layers(40, [5, 15, 25, 35], 'attention'),
      intermediate_size: 512,
      shared_intermediate_size: 1024,
      num_local_experts: 64,
      num_experts_per_tok: 6,
      mamba_n_heads: 48,
      mamba_d_head: 64,
    }),
  ],
  [
    'Falcon-H1-0.5B',
    521,
    falcon({
      vocab_size: 32784,
      hidden_size: 1024,
      intermediate_size: 2048,
      num_hidden_layers: 36,
      mamba_d_ssm: 1536,
      mamba_d_head: 64,
      mamba_d_state: 128,
    }),
  ],
  [
    'Falcon-H1-Tiny-90M',
    91,
    falcon({
      vocab_size: 32768,
      hidden_size: 512,
      intermediate_size: 768,
      num_hidden_layers: 24,
      mamba_d_ssm: 768,
      mamba_d_head: 32,
      mamba_d_state: 64,
      tie_word_embeddings: true,
      eos_token_id: [228, 11],
    }),
  ],
  [
    'NVIDIA-Nemotron-Nano-9B-v2',
    8888,
    {
      ...NEMOTRON,
      hybrid_override_pattern: 'M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-',
      hidden_size: 4480,
      intermediate_size: 15680,
      num_attention_heads: 40,
      num_key_value_heads: 8,
      mamba_num_heads: 128,
      mamba_head_dim: 80,
    },
  ],
  [
    'NVIDIA-Nemotron-3-Nano-30B-A3B',
    31578,
    {
      ...NEMOTRON,
      hybrid_override_pattern: 'MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME',
      hidden_size: 2688,
      num_attention_heads: 32,
      num_key_value_heads: 2,
      mamba_num_heads: 64,
      mamba_head_dim: 64,
      n_routed_experts: 128,
      num_experts_per_tok: 6,
      moe_intermediate_size: 1856,
      moe_shared_expert_intermediate_size: 3712,
    },
  ],
  [
    'Zamba2-1.2B',
    1215,
    {
      ...ZAMBA,
      hidden_size: 2048,
      num_hidden_layers: 38,
      layers_block_type: layers(38, [5, 11, 17, 23, 29, 35], 'hybrid'),
      n_mamba_heads: 64,
      mamba_d_state: 128,
      use_shared_attention_adapter: true,
    },
  ],
  [
    'Zamba2-7B',
    7357,
    {
      ...ZAMBA,
      hidden_size: 3584,
      num_hidden_layers: 81,
      layers_block_type: layers(81, [6, 11, 17, 23, 29, 35, 41, 47, 53, 59, 65, 71, 77], 'hybrid'),
      num_mem_blocks: 2,
      n_mamba_heads: 112,
      mamba_ngroups: 2,
    },
  ],
  [
    'Mamba-Codestral-7B',
    7285,
    {
      architectures: ['Mamba2ForCausalLM'],
      vocab_size: 32768,
      hidden_size: 4096,
      intermediate_size: 8192,
      num_hidden_layers: 64,
      norm_before_gate: true,
    },
  ],
  [
    'Bamba-9B',
    9780,
    {
      architectures: ['BambaForCausalLM'],
      vocab_size: 128256,
      attn_layer_indices: [9, 18, 27],
      attn_rotary_emb: 64,
      mamba_d_state: 128,
    },
  ],
];

test.each(PUBLISHED)('%s has %i million parameters', (_, millions, config) => {
  const model = defineModel(config).create(new LayerContext(new ReferenceBackend(), singleProcess, 'float32'));
  const table = new ParameterTable(model);
  const count = table.names().reduce((sum, name) => sum + elementCount(table.shape(name)), 0);
  expect(Math.round(count / 1e6)).toBe(millions);
});
