import { describe, expect, test } from 'vitest';
import { LLM } from '../../src/engine/llm.ts';
import { stateStorage } from '../../src/engine/load/choose-state-dtype.ts';
import type { LoadOptions } from '../../src/engine/load/load-options.ts';
import { ConfigError, ModelMismatchError, UnsupportedDTypeError } from '../../src/errors.ts';
import { few } from '../runs.ts';
import { chunksOf } from './chunks-of.ts';
import { changedGolden, GOLDEN } from './golden-folder.ts';
import { hybridFolder } from './hybrid-folders.ts';

const FORMS = [
  { stateDtype: 'float16', stateRounding: 'nearest' },
  { stateDtype: 'float16', stateRounding: 'stochastic' },
  { stateDtype: 'bfloat16', stateRounding: 'nearest' },
] as const;
const MODELS = { mamba2: GOLDEN, bamba: hybridFolder('bamba'), falcon_h1: hybridFolder('falcon_h1') };
const OPTIONS = { temperature: 1, maxTokens: 8, ignoreEos: true, logprobs: 2 } as const;
const ids = (length: number, seed: number) => Array.from({ length }, (_, i) => 1 + ((i * 37 + seed * 11) % 120));

describe.each(few(Object.entries(MODELS)))('the states of %s', (_, folder) => {
  test.each(FORMS)('in $stateDtype, rounded to $stateRounding: bits are those of a sequence alone', async (form) => {
    const load = (options: LoadOptions) => LLM.load(folder, { device: 'cpu', dtype: 'float32', ...form, ...options });
    const requests = [ids(70, 1), ids(70, 1).concat(ids(9, 2)), ids(5, 3), ids(33, 4)].map(
      (prompt, i) => [prompt, { ...OPTIONS, seed: i }] as const,
    );
    await using single = await load({ enablePrefixCaching: false });
    const alone = [];
    for (const [prompt, options] of requests) alone.push(await chunksOf(single, prompt, options));
    // A prompt token by token is what a decode computes.
    for (const limits of [
      { maxNumSeqs: 3, maxNumBatchedTokens: 7, snapshotInterval: 16 },
      { maxNumSeqs: 8, tensorParallelSize: 1 },
      { maxNumSeqs: 1, maxNumBatchedTokens: 1 },
    ]) {
      await using loaded = await load(limits);
      const together = requests.map(([prompt, options]) => chunksOf(loaded, prompt, options));
      expect(await Promise.all(together)).toEqual(alone);
      loaded.engine.checkIntegrity();
    }
  });
});

describe('states of 16 bits', () => {
  test.each(FORMS)('in $stateDtype, $stateRounding: sessions continue, fork, are saved and loaded', async (form) => {
    const load = () => LLM.load(GOLDEN, { device: 'cpu', ...form });
    const prompt = ids(40, 1);
    const { file, expected } = await (async () => {
      await using llm = await load();
      const session = llm.createSession();
      await session.append(prompt.slice(0, 23));
      await session.append(prompt.slice(23));
      const [saved, fork] = [await session.save(), session.fork()];
      const answer = (await chunksOf(llm, prompt, OPTIONS_SEEDED)).map(({ tokenId }) => tokenId);
      for (const one of [session, fork]) {
        const tokens = [];
        for await (const { tokenId } of one.generate(undefined, OPTIONS_SEEDED)) tokens.push(tokenId);
        expect(tokens).toEqual(answer);
      }
      return { file: saved, expected: answer };
    })();
    await using again = await load();
    const session = await again.loadSession(file);
    const tokens = [];
    for await (const { tokenId } of session.generate(undefined, OPTIONS_SEEDED)) tokens.push(tokenId);
    expect(tokens).toEqual(expected);
    expect(again.engine.stats().prefillTokens).toBeLessThanOrEqual(1);
    await using other = await LLM.load(GOLDEN, { device: 'cpu' });
    await expect(other.loadSession(file)).rejects.toThrow(ModelMismatchError);
  });

  test('take half the memory of float32 ones, but for the inputs of convolutions', async () => {
    const bytes = async (options: LoadOptions) => {
      await using llm = await LLM.load(GOLDEN, { device: 'cpu', enablePrefixCaching: true, ...options });
      await llm.complete(ids(20, 1), { maxTokens: 1 });
      return llm.engine.stats().prefixCache.bytes;
    };
    const [whole, half] = [await bytes({}), await bytes({ stateDtype: 'float16' })];
    expect(half).toBeLessThan(0.65 * whole);
    expect(half).toBeGreaterThan(0.5 * whole);
    expect(await bytes({ stateDtype: 'float32' })).toBe(whole);
  });

  test('are what the config asks for, unless something else was', async () => {
    const tokens = async (folder: string, options: LoadOptions) => {
      await using llm = await LLM.load(folder, { device: 'cpu', ...options });
      return await chunksOf(llm, ids(60, 1), OPTIONS_SEEDED);
    };
    const asking = await changedGolden({ config: { mamba_ssm_cache_dtype: 'bfloat16' } });
    const float32 = await tokens(GOLDEN, {});
    const short = await tokens(GOLDEN, { stateDtype: 'bfloat16' });
    expect(short).not.toEqual(float32);
    expect(await tokens(asking, {})).toEqual(short);
    expect(await tokens(asking, { stateDtype: 'float32' })).toEqual(float32);
    const wrong = await changedGolden({ config: { mamba_ssm_cache_dtype: 'int7' } });
    await expect(LLM.load(wrong, { device: 'cpu' })).rejects.toThrow(ConfigError);
    const inner = { mamba_ssm_cache_dtype: 'bfloat16' };
    const outer = { architectures: ['NemotronH_Nano_VL_V2'], llm_config: inner, mamba_ssm_cache_dtype: 'float16' };
    expect(stateStorage(outer, {}).dtype).toBe('bfloat16');
    expect(stateStorage({ ...outer, llm_config: {} }, {}).dtype).toBe('float32');
    expect(stateStorage({ llm_config: inner }, {}).dtype).toBe('float32');
  });

  test('of float32 say that stochastic rounding changes nothing', async () => {
    const warnings: string[] = [];
    const onWarning = (message: string) => warnings.push(message);
    await using llm = await LLM.load(GOLDEN, { device: 'cpu', stateRounding: 'stochastic', onWarning });
    expect(warnings).toEqual([expect.stringMatching(/^Stochastic rounding .* because states are float32\.$/)]);
    expect(llm.device.device).toBe('cpu');
  });

  test('are refused by wrong names, with the right ones', async () => {
    const wrong = (options: object) => expect(LLM.load(GOLDEN, options as LoadOptions)).rejects;
    await wrong({ stateDtype: 'float8' }).toThrow(UnsupportedDTypeError);
    await wrong({ stateDtype: 'float8' }).toThrow(/auto, float32, float16, bfloat16/);
    await wrong({ stateRounding: 'up' }).toThrow(/nearest, stochastic/);
  });
});

const OPTIONS_SEEDED = { ...OPTIONS, seed: 5 } as const;
