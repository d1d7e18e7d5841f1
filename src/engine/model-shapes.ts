import type { JsonObject } from '../checkpoint/json.ts';

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
} as const satisfies Readonly<Record<string, JsonObject>>;

export type ModelShape = keyof typeof MODEL_SHAPES;

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
