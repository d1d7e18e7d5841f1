import { describe, expect, test } from 'vitest';
import type { JsonObject } from '../../src/checkpoint/json/json.ts';
import { LLM } from '../../src/engine/llm.ts';
import { MissingTensorError, UnexpectedTensorError } from '../../src/errors.ts';
import { modelFolder, type NamedTensor, seededCheckpoint } from './model-folders.ts';

const COMMON = { vocab_size: 13, hidden_size: 8, num_attention_heads: 2, num_key_value_heads: 2, intermediate_size: 6 };

const ZAMBA2: JsonObject = {
  architectures: ['Zamba2ForCausalLM'],
  ...COMMON,
  num_hidden_layers: 12,
  // Layers 2, 4, 9 and 11: the second block's are 4 and 11, of which 11 comes first by name.
  layers_block_type: Array.from({ length: 12 }, (_, i) => ([2, 4, 9, 11].includes(i) ? 'hybrid' : 'mamba')),
  num_mem_blocks: 2,
  n_mamba_heads: 4,
  mamba_d_state: 4,
  adapter_rank: 2,
  use_shared_attention_adapter: true,
};

const NEMOTRON_H: JsonObject = {
  architectures: ['NemotronHForCausalLM'],
  ...COMMON,
  hybrid_override_pattern: 'M*E',
  head_dim: 4,
  mamba_num_heads: 4,
  mamba_head_dim: 4,
  n_groups: 2,
  ssm_state_size: 4,
  n_routed_experts: 2,
  moe_intermediate_size: 4,
  moe_shared_expert_intermediate_size: 4,
};

const PROMPT = [3, 12, 0, 7, 8, 8, 1];

async function logitsOf(config: JsonObject, tensors: readonly NamedTensor[]): Promise<Float32Array> {
  await using llm = await LLM.load(await modelFolder(config, tensors), { device: 'reference' });
  return await llm.logits(PROMPT);
}

/** The tensors once for each of the names that `rename` gives them. */
function renamed(tensors: readonly NamedTensor[], rename: (name: string) => readonly string[]): NamedTensor[] {
  return tensors.flatMap((tensor) => rename(tensor.name).map((name) => ({ ...tensor, name })));
}

function moved(name: string, from: number, to: number): string {
  return name.replace(`layers.${from}.shared_transformer.`, `layers.${to}.shared_transformer.`);
}

describe("Zamba2's shared blocks", () => {
  const tensors = seededCheckpoint(ZAMBA2, 3);

  test.each<[string, (name: string) => readonly string[]]>([
    ['the last layers that use them', (name) => [moved(moved(name, 2, 9), 4, 11)]],
    ['all layers that use them', (name) => [...new Set([name, moved(name, 2, 9), moved(name, 4, 11)])]],
    ['one the first, one the last', (name) => [moved(name, 4, 11)]],
  ])('stored with %s', async (_, rename) => {
    const stored = renamed(tensors, rename);
    expect(stored.map(({ name }) => name)).not.toEqual(tensors.map(({ name }) => name));
    expect(await logitsOf(ZAMBA2, stored)).toEqual(await logitsOf(ZAMBA2, tensors));
  });

  test("under the first layout's keys", async () => {
    const { intermediate_size, n_mamba_heads, mamba_d_state, adapter_rank, use_shared_attention_adapter, ...rest } =
      ZAMBA2;
    const first: JsonObject = {
      ...rest,
      ffn_hidden_size: intermediate_size,
      mamba_headdim: (2 * Number(rest.hidden_size)) / Number(n_mamba_heads),
      state_size: mamba_d_state,
      lora_rank: adapter_rank,
      use_shared_attention_lora: use_shared_attention_adapter,
      use_shared_block_lora: true,
    };
    expect(await logitsOf(first, tensors)).toEqual(await logitsOf(ZAMBA2, tensors));
  });

  test('stored with a layer of another block, or of none: refused', async () => {
    const misplaced = renamed(tensors, (name) => [moved(name, 4, 9)]);
    await expect(logitsOf(ZAMBA2, misplaced)).rejects.toThrow(MissingTensorError);
    const stray = renamed(tensors, (name) => [...new Set([name, moved(name, 2, 3)])]);
    await expect(logitsOf(ZAMBA2, stray)).rejects.toThrow(UnexpectedTensorError);
  });
});

describe('Nemotron-H', () => {
  const tensors = seededCheckpoint(NEMOTRON_H, 3);
  const extra = (name: string): NamedTensor => ({ name, shape: [2], data: Float32Array.of(1, 2) });

  test('under the names of any generation, with layers for drafts and angles besides them', async () => {
    const expected = await logitsOf(NEMOTRON_H, tensors);
    const model = renamed(tensors, (name) => [name.replace('backbone.', 'model.')]);
    expect(await logitsOf(NEMOTRON_H, model)).toEqual(expected);
    const old = renamed(tensors, (name) => [name.replace('.embeddings.', '.embedding.')]);
    const spare = ['mtp.layers.0.norm.weight', 'backbone.layers.1.mixer.rotary_emb.inv_freq'];
    expect(await logitsOf(NEMOTRON_H, [...old, ...spare.map(extra)])).toEqual(expected);
  });

  test('experts stacked in one tensor, as transformers 5 has them in memory', async () => {
    const isExpert = ({ name }: NamedTensor) => name.includes('.mixer.experts.');
    const stack = (matrix: string): NamedTensor => {
      const experts = tensors.filter(({ name }) => name.endsWith(`.${matrix}.weight`) && name.includes('.experts.'));
      expect(experts).toHaveLength(2);
      const data = Float32Array.from(experts.flatMap((expert) => [...expert.data]));
      return { name: `model.layers.2.mixer.experts.${matrix}`, shape: [2, ...experts[0].shape], data };
    };
    const others = tensors.filter((tensor) => !isExpert(tensor));
    const stored = [
      ...renamed(others, (name) => [name.replace('backbone.', 'model.')]),
      stack('up_proj'),
      stack('down_proj'),
    ];
    expect(await logitsOf(NEMOTRON_H, stored)).toEqual(await logitsOf(NEMOTRON_H, tensors));
  });

  test('with a tensor that no layer takes: refused', async () => {
    const stray = [...tensors, extra('backbone.layers.1.mixer.q_proj.bias')];
    await expect(logitsOf(NEMOTRON_H, stray)).rejects.toThrow(UnexpectedTensorError);
  });
});
