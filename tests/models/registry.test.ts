import { describe, expect, test } from 'vitest';
import type { JsonObject } from '../../src/checkpoint/json/json.ts';
import { UnsupportedArchitectureError } from '../../src/errors.ts';
import { defineModel, supportedArchitectures } from '../../src/models/registry.ts';

const sizes: JsonObject = {
  hidden_size: 32,
  num_hidden_layers: 1,
  vocab_size: 50,
  num_heads: 8,
  head_dim: 8,
  n_groups: 1,
};
const original: JsonObject = { d_model: 32, n_layer: 1, vocab_size: 50, ssm_cfg: { layer: 'Mamba2', headdim: 8 } };

describe('defineModel', () => {
  test.each<[string, JsonObject]>([
    ['by its architectures', { ...sizes, architectures: ['Mamba2ForCausalLM'] }],
    ['by one of several', { ...sizes, architectures: ['Unknown', 'Mamba2ForCausalLM'] }],
    ['by model_type alone', { ...sizes, model_type: 'mamba2' }],
    ['by model_type where architectures is empty', { ...sizes, architectures: [], model_type: 'mamba2' }],
    ['by model_type where architectures is null', { ...sizes, architectures: null, model_type: 'mamba2' }],
    ['by ssm_cfg', original],
  ])('finds Mamba-2 %s', (_, json) => {
    expect(defineModel(json).config.architecture).toBe('Mamba2ForCausalLM');
  });

  test.each<[string, JsonObject, string]>([
    ['an unknown architecture', { ...sizes, architectures: ['LlamaForCausalLM'] }, 'LlamaForCausalLM'],
    [
      'an unknown architecture, whatever model_type says',
      { ...sizes, architectures: ['X'], model_type: 'mamba2' },
      'X',
    ],
    ['an unknown model_type', { ...sizes, model_type: 'gpt2' }, 'gpt2'],
    ['nothing to go by', { ...sizes }, 'null'],
  ])('%s: UnsupportedArchitectureError that lists what is supported', (_, json, asked) => {
    const define = () => defineModel(json);
    expect(define).toThrow(UnsupportedArchitectureError);
    expect(define).toThrow(asked);
    for (const name of supportedArchitectures()) expect(define).toThrow(name);
  });

  test('supports Mamba2ForCausalLM', () => {
    expect(supportedArchitectures()).toContain('Mamba2ForCausalLM');
  });
});

describe('a model that sees, whose language model stands in a part of its config', () => {
  const inner = { ...sizes, architectures: ['Mamba2ForCausalLM'] };
  const outer = { architectures: ['NemotronH_Nano_VL_V2'], vision_config: {} };
  const stored = ['language_model.backbone.layers.0.mixer.D', 'vision_model.x', 'mlp1.0.weight'];

  test.each(['llm_config', 'text_config'])('%s: its weights by their own names, and a note of the others', (key) => {
    const { config, parameterName, note } = defineModel({ ...outer, [key]: inner }, stored);
    expect(config.architecture).toBe('Mamba2ForCausalLM');
    expect(stored.map(parameterName)).toEqual(['backbone.layers.0.mixer.D', undefined, undefined]);
    expect(note).toMatch(/2 tensors .*vision_model\.x/);
    expect(defineModel({ ...outer, [key]: inner }, stored.slice(0, 1)).note).toBeUndefined();
  });

  test('without such a part the name is not known', () => {
    expect(() => defineModel(outer)).toThrow(UnsupportedArchitectureError);
  });
});

describe('parameterName', () => {
  const names = (json: JsonObject, stored?: readonly string[]) => defineModel(json, stored).parameterName;

  test('keeps names as they are, and knows the singular of the original layout', () => {
    const parameterName = names({ ...sizes, model_type: 'mamba2' });
    expect(parameterName('backbone.layers.0.mixer.in_proj.weight')).toBe('backbone.layers.0.mixer.in_proj.weight');
    expect(parameterName('backbone.embeddings.weight')).toBe('backbone.embeddings.weight');
    expect(parameterName('backbone.embedding.weight')).toBe('backbone.embeddings.weight');
    expect(parameterName('lm_head.weight')).toBe('lm_head.weight');
  });

  test('drops a tied head besides the embeddings, and takes it for the embeddings where there are none', () => {
    for (const [json, embeddings] of [
      [{ ...sizes, model_type: 'mamba2', tie_word_embeddings: true }, 'backbone.embeddings.weight'],
      [original, 'backbone.embedding.weight'],
    ] as const) {
      expect(names(json, [embeddings, 'lm_head.weight'])('lm_head.weight')).toBeUndefined();
      expect(names(json, ['lm_head.weight'])('lm_head.weight')).toBe('backbone.embeddings.weight');
    }
    expect(names({ ...original, tie_embeddings: false })('lm_head.weight')).toBe('lm_head.weight');
  });
});
