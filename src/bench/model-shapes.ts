import type { JsonObject } from '../checkpoint/json/json.ts';

/** A layer of granite-4.0-h-tiny: six of 64 experts, and one that all tokens visit. */
const TINY = {
  hidden_size: 1536,
  intermediate_size: 512,
  shared_intermediate_size: 1024,
  num_local_experts: 64,
  num_experts_per_tok: 6,
  mamba_d_head: 64,
  residual_multiplier: 0.22,
  attention_multiplier: 0.0078125,
  logits_scaling: 6,
} as const;

/** Published models' sizes by name, as their config.json would say them in Hugging Face's layout. */
export const MODEL_SHAPES = {
  'mamba2-130m': stateSpaces(768, 24, 24),
  'mamba2-370m': stateSpaces(1024, 48, 32),
  'mamba2-780m': stateSpaces(1536, 48, 48),
  'mamba2-1.3b': stateSpaces(2048, 48, 64),
  'mamba2-2.7b': stateSpaces(2560, 64, 80),
  'codestral-7b': mamba2Config({
    hidden_size: 4096,
    num_hidden_layers: 64,
    num_heads: 128,
    n_groups: 8,
    vocab_size: 32768,
    tie_word_embeddings: false,
  }),
  'granite-4.0-h-350m': graniteConfig({
    hidden_size: 768,
    num_hidden_layers: 32,
    attentionLayers: [10, 13, 17, 27],
    intermediate_size: 2048,
    mamba_d_head: 32,
    residual_multiplier: 0.246,
    attention_multiplier: 0.015625,
    logits_scaling: 3,
  }),
  'granite-4.0-h-1b': graniteConfig({
    hidden_size: 1536,
    num_hidden_layers: 40,
    attentionLayers: [5, 15, 25, 35],
    intermediate_size: 4096,
    mamba_d_head: 64,
    residual_multiplier: 0.22,
    attention_multiplier: 0.0078125,
    logits_scaling: 6,
  }),
  'granite-4.0-h-tiny': graniteConfig({ ...TINY, num_hidden_layers: 40, attentionLayers: [5, 15, 25, 35] }),
  /** Ten layers of it, one of them attention, for machines that do not hold all. */
  'granite-4.0-h-tiny-quarter': graniteConfig({ ...TINY, num_hidden_layers: 10, attentionLayers: [5] }),
  'falcon-h1-0.5b': {
    architectures: ['FalconH1ForCausalLM'],
    model_type: 'falcon_h1',
    vocab_size: 32784,
    hidden_size: 1024,
    num_hidden_layers: 36,
    intermediate_size: 2048,
    num_attention_heads: 8,
    num_key_value_heads: 2,
    head_dim: 64,
    rope_theta: 1e11,
    mamba_d_ssm: 1536,
    mamba_n_heads: 24,
    mamba_d_head: 64,
    mamba_d_state: 128,
    mamba_n_groups: 1,
    mamba_d_conv: 4,
    mamba_chunk_size: 128,
    mamba_rms_norm: false,
    embedding_multiplier: 5.656854249492381,
    lm_head_multiplier: 0.0390625,
    key_multiplier: 0.390625,
    attention_out_multiplier: 0.9375,
    ssm_in_multiplier: 1.25,
    ssm_out_multiplier: 0.23570226039551587,
    ssm_multipliers: [0.3535533905932738, 0.25, 0.3535533905932738, 0.5, 0.3535533905932738],
    mlp_multipliers: [0.8838834764831844, 0.5859375],
    tie_word_embeddings: false,
  },
} as const satisfies Readonly<Record<string, JsonObject>>;

export type ModelShape = keyof typeof MODEL_SHAPES;

/** The family `ibm-granite/granite-4.0-h-*`. */
function graniteConfig({
  attentionLayers,
  intermediate_size,
  num_hidden_layers,
  ...sizes
}: {
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly attentionLayers: readonly number[];
  readonly intermediate_size: number;
  readonly shared_intermediate_size?: number;
  readonly num_local_experts?: number;
  readonly num_experts_per_tok?: number;
  readonly mamba_d_head: number;
  readonly residual_multiplier: number;
  readonly attention_multiplier: number;
  readonly logits_scaling: number;
}) {
  return {
    architectures: ['GraniteMoeHybridForCausalLM'],
    model_type: 'granitemoehybrid',
    vocab_size: 100352,
    num_hidden_layers,
    layer_types: Array.from({ length: num_hidden_layers }, (_, i) =>
      attentionLayers.includes(i) ? 'attention' : 'mamba',
    ),
    num_attention_heads: 12,
    num_key_value_heads: 4,
    position_embedding_type: 'nope',
    num_local_experts: 0,
    num_experts_per_tok: 0,
    intermediate_size,
    shared_intermediate_size: intermediate_size,
    mamba_n_heads: 48,
    mamba_d_state: 128,
    mamba_n_groups: 1,
    mamba_d_conv: 4,
    mamba_expand: 2,
    mamba_chunk_size: 256,
    embedding_multiplier: 12,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    ...sizes,
  };
}

/** The family `state-spaces/mamba2-*`. */
function stateSpaces(hiddenSize: number, layers: number, heads: number) {
  return mamba2Config({
    hidden_size: hiddenSize,
    num_hidden_layers: layers,
    num_heads: heads,
    n_groups: 1,
    vocab_size: 50288,
    tie_word_embeddings: true,
  });
}

function mamba2Config<T extends JsonObject>(sizes: T) {
  return {
    architectures: ['Mamba2ForCausalLM'],
    model_type: 'mamba2',
    expand: 2,
    head_dim: 64,
    state_size: 128,
    conv_kernel: 4,
    chunk_size: 256,
    layer_norm_epsilon: 1e-5,
    ...sizes,
  };
}
