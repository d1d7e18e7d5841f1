import { describe, expect, onTestFinished, test } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import type { LoadOptions } from '../../../src/engine/load/load-options.ts';
import { ArgumentError } from '../../../src/errors.ts';
import { changedGolden, GOLDEN } from '../golden-folder.ts';
import { goldenFolder } from './golden-folders.ts';
import { MemoryStore } from './memory-store.ts';

async function load(stateStore: MemoryStore, options: LoadOptions = {}, folder = GOLDEN): Promise<LLM> {
  const llm = await LLM.load(folder, { device: 'cpu', stateStore, stateFetch: 'always', ...options });
  onTestFinished(() => llm.dispose());
  return llm;
}

const ids = (length: number, vocabSize: number, seed = 0) =>
  Array.from({ length }, (_, i) => (i * i + i * 13 + seed * 31) % vocabSize);

/** The next answer of a model, and the tokens that were computed for it. */
async function ask(llm: LLM, prompt: readonly number[], options: { maxTokens?: number; cacheSalt?: string } = {}) {
  const before = llm.engine.stats().prefillTokens;
  const { tokenIds } = await llm.complete(prompt, { maxTokens: 5, temperature: 0, ...options });
  const computed = llm.engine.stats().prefillTokens - before;
  // Behind the answer.
  await expect.poll(() => llm.engine.stats().stateStore?.pendingPuts).toBe(0);
  return { tokenIds, computed };
}

describe.each(['mamba2', 'granitemoehybrid', 'zamba2'])('%s', (name) => {
  const folder = goldenFolder(name);

  test('machines in turn give the tokens of one, and compute only what is new', async () => {
    const alone = await LLM.load(folder, { device: 'cpu', tensorParallelSize: 1 });
    onTestFinished(() => alone.dispose());
    const { vocabSize } = alone.config;
    const store = new MemoryStore();
    const machines = [await load(store, {}, folder), await load(store, {}, folder)];
    let text = ids(300, vocabSize);
    let known = 0;
    for (let turn = 0; turn < 4; turn++) {
      const { tokenIds, computed } = await ask(machines[turn % 2], text);
      const expected = await alone.complete(text, { maxTokens: 5, temperature: 0 });
      expect(tokenIds).toEqual(expected.tokenIds);
      expect(computed).toBe(text.length - known);
      known = text.length + tokenIds.length - 1;
      text = [...text, ...tokenIds, ...ids(120, vocabSize, turn)];
    }
    expect(machines[1].engine.stats().stateStore).toMatchObject({ damaged: 0, failures: 0, hits: 2 });
  });
});

describe('LLM.load with a store', () => {
  test('keeps apart what computes other bits, and other weights', async () => {
    const store = new MemoryStore();
    const prompt = ids(200, 64);
    const computed = async (options: LoadOptions, folder?: string) => {
      const llm = await load(store, options, folder);
      return (
        await ask(
          llm,
          prompt.map((id) => id % llm.config.vocabSize),
        )
      ).computed;
    };
    // One value of one tensor: a training that left nearly all as it was.
    const changed = await changedGolden({
      tensors: (tensors) => {
        for (const { data, shape } of [...tensors.values()].slice(-1))
          data[Math.floor(data.length / shape[0]) * (shape[0] >> 1)] += 1;
      },
    });
    for (const options of [{}, { dtype: 'int8' }, { device: 'reference' }, { tensorParallelSize: 2 }] as const) {
      expect([options, await computed(options)]).toEqual([options, 200]);
      expect([options, await computed(options)]).toEqual([options, 0]);
    }
    expect(await computed({}, changed)).toBe(200);
  });

  test('serves sessions, and keeps those of files to themselves', async () => {
    const store = new MemoryStore();
    const [one, other] = [await load(store), await load(store)];
    await one.createSession().append(ids(200, 64));
    await one.engine.shutdown();
    const session = other.createSession();
    await session.append([...ids(200, 64), 1]);
    expect(other.engine.stats().prefillTokens).toBe(1);
    const before = store.puts.length;
    const restored = await other.loadSession(await session.save());
    await restored.append([2, 3]);
    await other.engine.shutdown();
    expect(store.puts.length - before).toBeLessThanOrEqual(1);
  });

  test('keeps salts apart', async () => {
    const store = new MemoryStore();
    const prompt = ids(200, 64);
    expect((await ask(await load(store), prompt, { cacheSalt: 'a' })).computed).toBe(200);
    expect((await ask(await load(store), prompt, { cacheSalt: 'b' })).computed).toBe(200);
    expect((await ask(await load(store), prompt)).computed).toBe(200);
    expect((await ask(await load(store), prompt, { cacheSalt: 'a' })).computed).toBe(0);
  });

  test('works without a prefix cache', async () => {
    const store = new MemoryStore();
    const prompt = ids(200, 64);
    expect((await ask(await load(store, { enablePrefixCaching: false }), prompt)).computed).toBe(200);
    const other = await load(store, { enablePrefixCaching: false });
    expect((await ask(other, [...prompt, ...(await ask(other, prompt)).tokenIds])).computed).toBeLessThan(10);
  });

  test('shuts down when all states are put', async () => {
    const store = new MemoryStore();
    const llm = await load(store);
    store.before = () => new Promise((resolve) => setTimeout(resolve, 20));
    await llm.complete(ids(200, 64), { maxTokens: 5 });
    await llm.engine.shutdown();
    expect(store.puts).toHaveLength(2);
  });

  test('refuses a way to fetch that there is not', async () => {
    const fetch = 'never' as 'always';
    await expect(LLM.load(GOLDEN, { stateStore: new MemoryStore(), stateFetch: fetch })).rejects.toThrow(ArgumentError);
  });
});
