import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { LLM } from '../../src/engine/llm.ts';
import { GOLDEN } from '../engine/golden-folder.ts';
import { offline, runCli, runOnOneRank, spawnCli } from './run-cli.ts';
import { changedTiny, expectedCases, tinyFile } from './tiny-dts.ts';

const ONE_RANK = ['--tensor-parallel-size', '1'];
const GREEDY = ['--temperature', '0', '--ignore-eos'];

describe('generate', () => {
  test('--json is one object with the tokens that transformers computes', async () => {
    for (const { prompt, input_ids, greedy } of await expectedCases()) {
      const { code, stdout, stderr } = await runOnOneRank([
        'generate',
        '--prompt',
        prompt,
        '--json',
        '-n',
        '30',
        ...GREEDY,
      ]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      const result = JSON.parse(stdout);
      expect(result).toEqual({
        promptTokenIds: input_ids,
        tokenIds: greedy.slice(0, 30),
        text: expect.any(String),
        finishReason: 'length',
        timings: {
          loadSeconds: expect.any(Number),
          promptTokens: input_ids.length,
          promptSeconds: expect.any(Number),
          completionTokens: 30,
          completionSeconds: expect.any(Number),
          tokensPerSecond: expect.any(Number),
        },
      });
      const { tokensPerSecond, completionSeconds } = result.timings;
      expect(tokensPerSecond * completionSeconds).toBeCloseTo(29);
    }
  });

  test('streams the text and nothing else; --echo puts the prompt in front; a pipe is a prompt', async () => {
    const [{ prompt, greedy }] = await expectedCases();
    await using llm = await LLM.load('tiny-dts');
    const text = llm.tokenizer?.decode(greedy) ?? '';
    const options = ['--max-tokens', String(greedy.length), ...GREEDY];
    const plain = await spawnCli(['generate', prompt, ...options, ...ONE_RANK]);
    expect(plain).toMatchObject({ code: 0, stdout: `${text}\n`, stderr: '' });
    // Sixty tokens take long enough that not all of them share one read.
    expect(plain.chunks.length).toBeGreaterThan(5);
    const echoed = await runOnOneRank(['generate', '--echo', ...options], { stdin: prompt });
    expect(echoed.stdout).toBe(`${prompt}${text}\n`);
  });

  test('--json-schema gives the answer a form', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'mamba2-schema-'));
    try {
      const schema = join(folder, 'schema.json');
      await writeFile(schema, JSON.stringify({ enum: ['left', 'right'] }));
      const { code, stdout } = await runOnOneRank(['generate', '--prompt', 'Go', '--json-schema', schema]);
      expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/^"(left|right)"\n$/) });
      const given = ['generate', '--prompt', 'Go', '--json-schema', '{"type": "string", "pattern": "^a{9,}$"}'];
      const cut = await runOnOneRank([...given, '--max-tokens', '2']);
      expect(cut).toMatchObject({
        code: 0,
        stdout: expect.stringMatching(/^"a*/),
        stderr: expect.stringContaining('before it was whole'),
      });
      const missing = await runOnOneRank(['generate', '--prompt', 'Go', '--json-schema', join(folder, 'none.json')]);
      expect(missing).toMatchObject({ code: 2, stderr: expect.stringContaining('--json-schema: ENOENT') });
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test('token ids in, also for a model without a tokenizer', async () => {
    const [{ input_ids, greedy }] = await expectedCases();
    const options = ['--json', '--max-tokens', '5', ...GREEDY];
    const byIds = await runOnOneRank(['generate', '--token-ids', input_ids.join(','), ...options]);
    expect(JSON.parse(byIds.stdout)).toMatchObject({ promptTokenIds: input_ids, tokenIds: greedy.slice(0, 5) });
    await using llm = await LLM.load(GOLDEN);
    const { tokenIds } = await llm.complete([1, 2, 3], { maxTokens: 4, temperature: 0, ignoreEos: true });
    const golden = ['generate', '-m', GOLDEN, '--token-ids', '1 2, 3', '-n', '4', ...GREEDY];
    expect((await runOnOneRank([...golden, '--echo'])).stdout).toBe(`1 2 3 ${tokenIds.join(' ')} \n`);
  });

  test('stop strings, of which there may be several', async () => {
    const args = ['generate', 'export interface User {\n', '--json', ...GREEDY];
    const { stdout } = await runOnOneRank([...args, '--stop', 'no such text', '--stop', 'name: string']);
    const { text, finishReason } = JSON.parse(stdout);
    expect(finishReason).toBe('stop');
    expect(text).toMatch(/\t$/);
    expect(text).not.toContain('name: string');
  });

  test('--n, in words and as JSON with logprobs, half-lives and the prompt', async () => {
    const args = ['generate', 'export interface User {', '--n', '2', '-n', '4', '--seed', '5', '--ignore-eos'];
    const words = await runOnOneRank(args);
    const asked = ['--logprobs', '1', '--prompt-logprobs', '0', '--half-life-interval', '2', '--json'];
    const json = JSON.parse((await runOnOneRank([...args, ...asked])).stdout);
    const [first, second] = json.choices;
    expect(json).toMatchObject(first);
    expect(words.stdout).toBe(`--- answer 1 of 2 ---\n${first.text}\n\n--- answer 2 of 2 ---\n${second.text}\n`);
    for (const { tokenIds, logprobs, halfLives } of json.choices) {
      expect(logprobs.map(({ tokenId }: { tokenId: number }) => tokenId)).toEqual(tokenIds);
      expect(logprobs[0].topLogprobs).toHaveLength(1);
      expect(halfLives[0].halfLives).toHaveLength(14);
    }
    expect(json.promptLogprobs).toHaveLength(json.promptTokenIds.length);
    expect(json.promptLogprobs[0]).toBeNull();
  });

  test('flags reach the sampler: a bias, stop tokens, bad words, special tokens', async () => {
    const run = async (...args: string[]) =>
      (await runOnOneRank(['generate', 'export ', '-t', '0', '-n', '6', ...args, '--json'])).stdout;
    const plain = JSON.parse(await run());
    const [, second] = plain.tokenIds;
    expect(JSON.parse(await run('--stop-token-ids', `${second}`))).toMatchObject({ finishReason: 'stop' });
    const biased = JSON.parse(await run('--logit-bias', `${plain.tokenIds[0]}=-100`));
    expect(biased.tokenIds[0]).not.toBe(plain.tokenIds[0]);
    const without = JSON.parse(await run('--bad-words', plain.text.trim().split(' ')[0]));
    expect(without.text).not.toBe(plain.text);
    const ended = JSON.parse(await run('--logit-bias', '0=100', '--no-skip-special-tokens', '--ignore-eos'));
    expect(ended.text).toContain('<|endoftext|>');
  });

  test('a seed repeats, another differs', async () => {
    const run = async (seed: string) =>
      (await runOnOneRank(['generate', 'export ', '-n', '12', '--seed', seed])).stdout;
    const [first, second, other] = [await run('007'), await run('7'), await run('8')];
    expect(second).toBe(first);
    expect(other).not.toBe(first);
  });

  test('several threads and another dtype', async () => {
    const [{ prompt, greedy }] = await expectedCases();
    const args = ['generate', prompt, '--json', '-n', '8', ...GREEDY];
    const ranks = await spawnCli([...args, '--tensor-parallel-size', '2']);
    expect(JSON.parse(ranks.stdout).tokenIds).toEqual(greedy.slice(0, 8));
    expect(ranks.code).toBe(0);
    expect((await runOnOneRank([...args, '--dtype', 'int8'])).code).toBe(0);
  });

  test('Ctrl-C keeps what there is and ends with code 130', async () => {
    const args = ['generate', 'export ', '-n', '100000', '--seed', '1', '--ignore-eos', ...ONE_RANK];
    const onOutput = (interrupt: () => void) => setTimeout(interrupt, 300);
    const { code, stdout, stderr } = await spawnCli(args, { onOutput });
    expect({ code, stderr }).toEqual({ code: 130, stderr: '' });
    expect(stdout.length).toBeGreaterThan(5);
    expect(stdout.endsWith('\n')).toBe(true);
    const again = await runCli([...args.slice(0, 2), '-n', '10', ...args.slice(4)]);
    expect(again.stdout.slice(0, 5)).toBe(stdout.slice(0, 5));
  });

  test('a reader that goes away ends it in silence', async () => {
    const { spawn } = await import('node:child_process');
    const main = new URL('../../src/cli/main.ts', import.meta.url).pathname;
    const child = spawn(process.execPath, [main, 'generate', 'export ', '-n', '100000', '--ignore-eos', ...ONE_RANK]);
    let stderr = '';
    child.stderr.on('data', (chunk) => {
      stderr += String(chunk);
    });
    child.stdout.once('data', () => child.stdout.destroy());
    const code = await new Promise((resolve) => child.on('close', resolve));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });
});

describe('what can not be done ends with code 1 and one line', () => {
  // Elsewhere drivers are not found by the Vulkan loader, which these variables point to nothing.
  test.runIf(process.platform === 'linux')(
    'a GPU that is not there, without what its driver says about it',
    async () => {
      const env = { VK_ICD_FILENAMES: '/nowhere.json', VK_DRIVER_FILES: '/nowhere.json' };
      const { code, stdout, stderr } = await spawnCli(['generate', 'x', '-n', '1', '--device', 'webgpu'], { env });
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toMatch(/^error: .*WebGPU.*\n$/);
    },
  );

  test('an unknown model', async () => {
    const { code, stdout, stderr } = await runCli(['generate', 'x', '--model', 'nope']);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/^error: There is no model 'nope'.*Bundled models: tiny-dts\.\n$/);
  });

  test('a stack on request', async () => {
    expect((await runCli(['generate', 'x', '-m', 'nope', '--verbose'])).stderr).toMatch(/\n\s+at /);
    expect((await runCli(['generate', 'x', '-m', 'nope'], { env: { DEBUG: 'mamba2' } })).stderr).toMatch(/\n\s+at /);
  });

  test('a hub model without a network', async () => {
    const { code, stderr } = await runCli(['generate', 'x', '-m', 'org/name'], { env: await offline() });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: HF_HUB_OFFLINE is set, and the cache .* of 'org\/name'.*\n$/);
  });

  test('truncated weights', async () => {
    const weights = await tinyFile('model.safetensors');
    const folder = await changedTiny({ 'model.safetensors': weights.subarray(0, 1_000_000) });
    const { code, stdout, stderr } = await runOnOneRank(['generate', 'x', '-m', folder]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/^error: .*model\.safetensors.*\n$/);
  });

  test('token ids outside the vocabulary', async () => {
    const { code, stderr } = await runOnOneRank(['generate', '--token-ids', '4096']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/Token id 4096 is outside/);
  });
});
