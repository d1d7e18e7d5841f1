import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseLenientJson } from '../../../src/checkpoint/json/json.ts';
import { LLM } from '../../../src/engine/llm.ts';
import { Mamba2Error, MissingTensorError } from '../../../src/errors.ts';
import { makeFolder } from '../../checkpoint/folders.ts';
import { runCli } from '../../cli/run-cli.ts';
import { hybridFolder } from '../hybrid-folders.ts';

const COUNTS: Readonly<Record<string, readonly string[]>> = {
  mamba2: ['num_hidden_layers', 'hidden_size', 'vocab_size', 'state_size', 'conv_kernel', 'n_groups', 'head_dim'],
  bamba: ['num_hidden_layers', 'head_dim', 'intermediate_size', 'mamba_d_state', 'mamba_d_conv', 'mamba_n_heads'],
  granitemoehybrid: ['num_local_experts', 'intermediate_size', 'shared_intermediate_size', 'num_key_value_heads'],
  falcon_h1: ['num_hidden_layers', 'head_dim', 'mamba_d_state', 'mamba_d_ssm', 'num_attention_heads'],
  nemotron_h: ['mamba_head_dim', 'mamba_num_heads', 'ssm_state_size', 'n_groups', 'head_dim'],
  'variants/nemotron-experts': ['n_routed_experts', 'moe_intermediate_size', 'moe_latent_size'],
  zamba2: ['num_hidden_layers', 'adapter_rank', 'intermediate_size', 'mamba_d_state', 'mamba_expand', 'vocab_size'],
};
const SIZES = [1e6, 1e9, Number.MAX_SAFE_INTEGER];

/** A golden model under a config with these keys. */
async function changedHybrid(name: string, change: Record<string, unknown>): Promise<string> {
  const folder = await makeFolder();
  await cp(hybridFolder(name), folder, { recursive: true });
  const file = join(folder, 'config.json');
  const config = parseLenientJson(await readFile(file, 'utf8'), file);
  await writeFile(file, JSON.stringify({ ...Object(config), time_step_limit: null, ...change }));
  return folder;
}

/** What loading fails with. Whatever makes so many of anything ends the process, and with it this test. */
const failure = async (folder: string) =>
  LLM.load(folder).then(
    (llm) => llm.dispose(),
    (error: unknown) => error,
  );

describe('a count that the weights contradict is refused before there is so much of anything', () => {
  const cases = Object.entries(COUNTS).flatMap(([model, keys]) => keys.map((key) => [model, key] as const));
  test.each(cases)('%s: %s', async (model, key) => {
    for (const size of SIZES) {
      expect(await failure(await changedHybrid(model, { [key]: size }))).toBeInstanceOf(Mamba2Error);
    }
  });

  test('layers that only a default lists', async () => {
    const change = { layer_types: null, layers_block_type: null, num_hidden_layers: 1e9 };
    const error = await failure(await changedHybrid('granitemoehybrid', change));
    expect(error).toBeInstanceOf(MissingTensorError);
    expect(String(error)).toMatch(/asks for 1000000000 layers, but the weights are \d+ tensors/);
  });

  test('a million layers that the config lists one by one', async () => {
    const change = { layers_block_type: Array(1e6).fill('hybrid'), num_hidden_layers: 1e6 };
    expect(await failure(await changedHybrid('zamba2', change))).toBeInstanceOf(MissingTensorError);
    const pattern = { layers_block_type: null, layer_types: null, hybrid_override_pattern: 'M*'.repeat(5e5) };
    expect(await failure(await changedHybrid('nemotron_h', pattern))).toBeInstanceOf(MissingTensorError);
  });

  test('columns of heads where no layer has attention', async () => {
    const change = { attn_layer_indices: [], head_dim: 1e9 };
    expect(await failure(await changedHybrid('bamba', change))).toBeInstanceOf(Mamba2Error);
  });

  test('on two ranks, and by inspect', async () => {
    const folder = await changedHybrid('falcon_h1', { mamba_d_state: 1e9 });
    await expect(LLM.load(folder, { tensorParallelSize: 2 })).rejects.toThrow(/in_proj/);
    const { code, stderr } = await runCli(['inspect', folder]);
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^error: .*in_proj.*values/) });
  });
});
