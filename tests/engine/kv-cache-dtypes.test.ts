import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { openFile } from '../../src/checkpoint/files/file-source.ts';
import { SafetensorsFile } from '../../src/checkpoint/safetensors/safetensors.ts';
import { type TensorToWrite, writeSafetensors } from '../../src/checkpoint/safetensors/safetensors-writer.ts';
import { LLM } from '../../src/engine/llm.ts';
import type { LoadOptions } from '../../src/engine/load/load-options.ts';
import { ModelMismatchError, UnsupportedDTypeError } from '../../src/errors.ts';
import { makeFolder } from '../checkpoint/folders.ts';
import { few } from '../runs.ts';
import { chunksOf } from './chunks-of.ts';
import { GOLDEN } from './golden-folder.ts';
import { goldenOutputs, hybridFolder } from './hybrid-folders.ts';
import { MemoryStore } from './store/memory-store.ts';

const DTYPES = ['fp8_e4m3', 'bfloat16', 'fp8_e5m2', 'float16'] as const;
const MODELS = ['bamba', 'falcon_h1', 'variants/plamo2-windows', 'zamba2'];
const BAMBA = hybridFolder('bamba');
const OPTIONS = { temperature: 1, maxTokens: 8, ignoreEos: true, logprobs: 2, seed: 5 } as const;
const GUESSES = { method: 'ngram', numSpeculativeTokens: 4, promptLookupMin: 1, promptLookupMax: 3 } as const;
/** Ids that all of the models have: the smallest vocabulary is of 37. */
const ids = (length: number, seed: number) =>
  Array.from({ length }, (_, i) => 1 + ((i * i * 7 + i * 3 + seed * 11) % 35));
const load = (folder: string, options: LoadOptions) =>
  LLM.load(folder, { device: 'cpu', dtype: 'float32', ...options });

describe.each(few(MODELS, 2))('keys and values of %s', (model) => {
  test.each(DTYPES)(
    'in %s: bits are those of a sequence alone',
    async (kvCacheDtype) => {
      const folder = hybridFolder(model);
      // One of them repeats itself, so that guesses come true.
      const prompts = [ids(70, 1), ids(70, 1).concat(ids(9, 2)), ids(5, 3), ids(6, 4).concat(ids(6, 4), ids(6, 4))];
      const requests = prompts.map(
        (prompt, i) => [prompt, { ...OPTIONS, seed: i, allowedTokenIds: [7, 9, 11] }] as const,
      );
      await using single = await load(folder, { kvCacheDtype, enablePrefixCaching: false });
      const alone = [];
      for (const [prompt, options] of requests) alone.push(await chunksOf(single, prompt, options));
      for (const limits of [
        { maxNumSeqs: 3, maxNumBatchedTokens: 7, snapshotInterval: 16 },
        { maxNumSeqs: 8, speculativeConfig: GUESSES },
        { maxNumSeqs: 1, maxNumBatchedTokens: 1 },
        { maxNumSeqs: 4, pipelineParallelSize: 2, maxNumBatchedTokens: 20 },
      ] satisfies LoadOptions[]) {
        await using loaded = await load(folder, { kvCacheDtype, ...limits });
        const together = requests.map(([prompt, options]) => chunksOf(loaded, prompt, options));
        expect(await Promise.all(together)).toEqual(alone);
        loaded.engine.checkIntegrity();
      }
    },
    300_000,
  );
});

describe('keys and values of 16 and 8 bits', () => {
  test.each(DTYPES)(
    'in %s: sessions continue, fork, rewind, are saved, and loaded by two ranks',
    async (kvCacheDtype) => {
      const prompt = ids(90, 1);
      const { file, expected } = await (async () => {
        await using llm = await load(BAMBA, { kvCacheDtype, snapshotInterval: 16 });
        const session = llm.createSession();
        await session.append(prompt.slice(0, 43));
        await session.append(prompt.slice(43));
        const [saved, fork] = [await session.save(), session.fork()];
        const answer = (await chunksOf(llm, prompt, OPTIONS)).map(({ tokenId }) => tokenId);
        for (const one of [session, fork]) {
          const tokens = [];
          for await (const { tokenId } of one.generate(undefined, OPTIONS)) tokens.push(tokenId);
          expect(tokens).toEqual(answer);
        }
        return { file: saved, expected: answer };
      })();
      for (const tensorParallelSize of [1, 2]) {
        await using again = await load(BAMBA, { kvCacheDtype, tensorParallelSize });
        const session = await again.loadSession(file);
        const tokens = [];
        for await (const { tokenId } of session.generate(undefined, OPTIONS)) tokens.push(tokenId);
        expect(tokens).toEqual(expected);
        expect(again.engine.stats().prefillTokens).toBeLessThanOrEqual(1);
      }
      await using other = await load(BAMBA, {});
      await expect(other.loadSession(file)).rejects.toThrow(ModelMismatchError);
      await expect(other.loadSession(file)).rejects.toThrow(`kvCacheDtype '${kvCacheDtype}'`);
    },
    120_000,
  );

  test('are kept apart in a store by their dtype', async () => {
    const stateStore = new MemoryStore();
    const computed = async (kvCacheDtype: LoadOptions['kvCacheDtype']) => {
      await using llm = await load(BAMBA, { kvCacheDtype, stateStore, stateFetch: 'always' });
      await llm.complete(ids(300, 1), { maxTokens: 5, temperature: 0 });
      await expect.poll(() => llm.engine.stats().stateStore?.pendingPuts).toBe(0);
      return llm.engine.stats().prefillTokens;
    };
    expect(await computed('fp8')).toBe(300);
    expect(await computed('float32')).toBe(300);
    expect(await computed('fp8_e5m2')).toBe(300);
    expect(await computed('fp8_e4m3')).toBe(0);
  });

  test('let two and four times as many tokens fit into as much memory', async () => {
    const blocks = async (kvCacheDtype: LoadOptions['kvCacheDtype']) => {
      await using llm = await load(BAMBA, { kvCacheDtype, kvCacheMemoryBytes: 2 ** 20 });
      return llm.engine.stats().blocks;
    };
    const whole = await blocks('auto');
    expect(await blocks('bfloat16')).toBe(2 * whole);
    expect(await blocks('float16')).toBe(2 * whole);
    expect(await blocks('fp8_e5m2')).toBe(4 * whole);
    expect(await blocks('fp8')).toBe(4 * whole);
  });

  test('change logits by as much as they are rounded', async () => {
    const { inputIds } = await goldenOutputs(BAMBA);
    const logits = async (kvCacheDtype: LoadOptions['kvCacheDtype']) => {
      await using llm = await load(BAMBA, { kvCacheDtype });
      const [chunk] = await chunksOf(llm, inputIds, { maxTokens: 1, temperature: 0, logprobs: 20 });
      return new Map(chunk.topLogprobs?.map(({ tokenId, logprob }) => [tokenId, logprob]));
    };
    const exact = await logits('float32');
    const difference = async (kvCacheDtype: LoadOptions['kvCacheDtype']) => {
      const found = await logits(kvCacheDtype);
      return Math.max(...[...found].map(([id, value]) => Math.abs(value - (exact.get(id) ?? value))));
    };
    const [half, bfloat, e4m3, e5m2] = [
      await difference('float16'),
      await difference('bfloat16'),
      await difference('fp8'),
      await difference('fp8_e5m2'),
    ];
    expect(half).toBeGreaterThan(0);
    expect(bfloat).toBeGreaterThan(half);
    expect(e4m3).toBeGreaterThan(bfloat);
    expect(e5m2).toBeGreaterThan(bfloat);
    expect(e5m2).toBeLessThan(0.1);
  });

  test.each([
    [
      'nemotron_h',
      { quant_method: 'modelopt', quant_algo: null, kv_cache_quant_algo: 'FP8' },
      'k_proj.k_scale',
      'v_proj.v_scale',
    ],
    [
      'bamba',
      { quant_method: 'compressed-tensors', kv_cache_scheme: { type: 'float', num_bits: 8 } },
      'k_scale',
      'v_scale',
    ],
  ])(
    'of %s are FP8 where it was quantised for that, with its scales',
    async (name, config, keyName, valueName) => {
      const folder = (key: number, value: number) =>
        scaledFolder(name, config, [
          [keyName, key],
          [valueName, value],
        ]);
      const logprobs = async (from: string, kvCacheDtype?: LoadOptions['kvCacheDtype']) => {
        const warnings: string[] = [];
        await using llm = await load(from, { kvCacheDtype, onWarning: (message) => warnings.push(message) });
        expect(warnings).toEqual([]);
        const [{ topLogprobs }] = await chunksOf(llm, ids(60, 1), { maxTokens: 1, temperature: 0, logprobs: 20 });
        return new Map(topLogprobs?.map(({ tokenId, logprob }) => [tokenId, logprob]));
      };
      const difference = (found: Map<number, number>, expected: Map<number, number>) =>
        Math.max(...[...expected].map(([id, value]) => Math.abs(value - (found.get(id) ?? Number.POSITIVE_INFINITY))));
      const plain = hybridFolder(name);
      const exact = await logprobs(plain, 'float32');
      const fp8 = await logprobs(plain, 'fp8');
      expect(await logprobs(await folder(1, 1))).toEqual(fp8);
      // Numbers of another power of two are rounded alike, but for the smallest.
      const scaled = await folder(0.5, 0.25);
      const near = difference(await logprobs(scaled), fp8);
      expect(near).toBeLessThan(1e-4);
      expect(await logprobs(scaled, 'float32')).toEqual(exact);
      // Not those of E5M2, for which such scales are not made.
      expect(await logprobs(scaled, 'fp8_e5m2')).toEqual(await logprobs(plain, 'fp8_e5m2'));
      // What lies beyond the largest number is lost.
      expect(difference(await logprobs(await folder(1, 1e-6)), fp8)).toBeGreaterThan(10 * near);
    },
    60_000,
  );

  test('belong to their scales', async () => {
    const config = { quant_method: 'compressed-tensors', kv_cache_scheme: { type: 'float', num_bits: 8 } };
    const [first, second] = await Promise.all([0.5, 0.25].map((k) => scaledFolder('bamba', config, [['k_scale', k]])));
    await using llm = await load(first, {});
    await using other = await load(second, {});
    const session = llm.createSession();
    await session.append(ids(9, 1));
    await expect(other.loadSession(await session.save())).rejects.toThrow(ModelMismatchError);
    await llm.loadSession(await session.save());
  });

  test('are refused by wrong names; a model without attention says that it has no use for them', async () => {
    const wrong = expect(LLM.load(BAMBA, { kvCacheDtype: 'fp7' } as unknown as LoadOptions)).rejects;
    await wrong.toThrow(UnsupportedDTypeError);
    const warnings: string[] = [];
    await using llm = await load(GOLDEN, { kvCacheDtype: 'fp8', onWarning: (message) => warnings.push(message) });
    expect(warnings).toEqual([expect.stringMatching(/no layer of this model has attention/)]);
    // So its sessions are those of any other.
    const session = llm.createSession();
    await session.append(ids(9, 1));
    await using other = await load(GOLDEN, {});
    await other.loadSession(await session.save());
  });
});

/** A golden model whose keys and values a tool has quantised; of each attention layer it has these scales. */
async function scaledFolder(
  name: string,
  quantization: Record<string, unknown>,
  scales: readonly (readonly [name: string, value: number])[],
): Promise<string> {
  const folder = hybridFolder(name);
  const source = await openFile(`${folder}/model.safetensors`);
  try {
    const file = await SafetensorsFile.open(source);
    const tensors: TensorToWrite[] = [];
    for (const [weight, { shape }] of file.tensors) {
      tensors.push({ name: weight, dtype: 'F32', shape, data: await file.readFloat32(weight) });
      if (!weight.endsWith('.k_proj.weight')) continue;
      for (const [scale, value] of scales) {
        const own = weight.replace('k_proj.weight', scale);
        tensors.push({ name: own, dtype: 'F32', shape: [], data: Float32Array.of(value) });
      }
    }
    const config = JSON.parse(await readFile(`${folder}/config.json`, 'utf8'));
    return await makeFolder({
      'config.json': { ...config, quantization_config: quantization },
      'model.safetensors': writeSafetensors(tensors),
    });
  } finally {
    await source.close();
  }
}
