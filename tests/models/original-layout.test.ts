import { describe, expect, test } from 'vitest';
import type { JsonObject } from '../../src/checkpoint/json/json.ts';
import { LLM } from '../../src/engine/llm.ts';
import { MissingTensorError } from '../../src/errors.ts';
import { bits } from '../layers/seeded.ts';
import { modelFolder, type NamedTensor, seededCheckpoint } from './model-folders.ts';

/** The config.json of one model in both layouts; the vocabulary of 45 is padded to 48. */
function configs(tied: boolean): { huggingFace: JsonObject; original: JsonObject } {
  return {
    huggingFace: {
      architectures: ['Mamba2ForCausalLM'],
      hidden_size: 16,
      num_hidden_layers: 2,
      vocab_size: 48,
      num_heads: 4,
      head_dim: 8,
      n_groups: 2,
      state_size: 8,
      chunk_size: 8,
      expand: 2,
      tie_word_embeddings: tied,
    },
    original: {
      d_model: 16,
      d_intermediate: 0,
      n_layer: 2,
      vocab_size: 45,
      ssm_cfg: { layer: 'Mamba2', headdim: 8, d_state: 8, ngroups: 2, chunk_size: 8 },
      attn_layer_idx: [],
      attn_cfg: {},
      rms_norm: true,
      residual_in_fp32: true,
      fused_add_norm: true,
      pad_vocab_size_multiple: 16,
      tie_embeddings: tied,
    },
  };
}

const PROMPT = [3, 44, 0, 17, 8, 8, 21, 5, 40, 2, 13];

async function logitsOf(config: JsonObject, tensors: readonly NamedTensor[], ranks = 1): Promise<Float32Array> {
  await using llm = await LLM.load(await modelFolder(config, tensors), {
    device: 'reference',
    tensorParallelSize: ranks,
    onWarning: () => {},
  });
  // Awaited here: the model is disposed of when the function returns.
  return await llm.logits(PROMPT);
}

/** The same tensors under the original's names. */
function originalNames(tensors: readonly NamedTensor[]): NamedTensor[] {
  return tensors.map((tensor) => ({
    ...tensor,
    name: tensor.name.replace('backbone.embeddings.', 'backbone.embedding.'),
  }));
}

/** What the original's save_pretrained writes beside a tied embedding. */
function withTiedHead(tensors: readonly NamedTensor[]): NamedTensor[] {
  const embedding = tensors.filter(({ name }) => name.startsWith('backbone.embedding'));
  return [...tensors, ...embedding.map((tensor) => ({ ...tensor, name: 'lm_head.weight' }))];
}

describe('a model in the original layout', () => {
  test('gives the logits of the same model in the other layout, tied, with the head stored or left out', async () => {
    const { huggingFace, original } = configs(true);
    const tensors = seededCheckpoint(huggingFace, 5);
    expect(tensors.map(({ name }) => name)).not.toContain('lm_head.weight');
    const expected = bits(await logitsOf(huggingFace, tensors));
    expect(expected).toHaveLength(PROMPT.length * 48);
    expect(bits(await logitsOf(original, originalNames(tensors)))).toEqual(expected);
    expect(bits(await logitsOf(original, withTiedHead(originalNames(tensors))))).toEqual(expected);
    expect(bits(await logitsOf(huggingFace, withTiedHead(tensors)))).toEqual(expected);
  });

  test('uses a head of its own that the config does not tell of', async () => {
    const tensors = originalNames(seededCheckpoint(configs(false).huggingFace, 5));
    const found = bits(await logitsOf(configs(true).original, tensors));
    expect(found).toEqual(bits(await logitsOf(configs(false).original, tensors)));
  });

  test('also gives them with a head of its own', async () => {
    const { huggingFace, original } = configs(false);
    const tensors = seededCheckpoint(huggingFace, 5);
    expect(tensors.map(({ name }) => name)).toContain('lm_head.weight');
    const untied = bits(await logitsOf(original, originalNames(tensors)));
    expect(untied).toEqual(bits(await logitsOf(huggingFace, tensors)));
    const tied = tensors.filter(({ name }) => name !== 'lm_head.weight');
    expect(untied).not.toEqual(bits(await logitsOf(configs(true).original, originalNames(tied))));
  });

  test('runs on two ranks as on one', async () => {
    const { original } = configs(false);
    const tensors = originalNames(seededCheckpoint(original, 6));
    const [single, double] = [await logitsOf(original, tensors), await logitsOf(original, tensors, 2)];
    expect(Math.max(...double.map((value, i) => Math.abs(value - single[i])))).toBeLessThan(1e-5);
  });

  test('lacks a tensor where the head is not tied but left out', async () => {
    const tensors = originalNames(seededCheckpoint(configs(true).original, 5));
    await expect(logitsOf(configs(false).original, tensors)).rejects.toThrow(MissingTensorError);
  });
});
