import { describe, expect, test } from 'vitest';
import { LLM } from '../../src/engine/llm.ts';
import { SamplingParamsError } from '../../src/errors.ts';
import { prompt, Rig } from './engine-rig.ts';
import { GOLDEN } from './golden-folder.ts';

describe('the prefix cache', () => {
  test('gives a request only what requests with its salt have left', async () => {
    const rig = new Rig();
    const cached = async (id: string, cacheSalt?: string | symbol) => {
      rig.add(id, prompt(12), { maxTokens: 2 }, { cacheSalt });
      await rig.finish();
      return rig.ended.get(id)?.numCachedTokens;
    };
    const secret = Symbol('secret');
    expect(await cached('first', 'a')).toBe(0);
    expect(await cached('same salt', 'a')).toBe(12);
    expect(await cached('other salt', 'b')).toBe(0);
    expect(await cached('no salt')).toBe(0);
    expect(await cached('symbol', secret)).toBe(0);
    expect(await cached('another symbol', Symbol('secret'))).toBe(0);
    expect(await cached('same symbol', secret)).toBe(12);
    expect(await cached('no salt again')).toBe(12);
    const answers = [...rig.tokens.values()].map(([answer]) => answer);
    expect(new Set(answers.map(String)).size).toBe(1);
  });

  test('keeps its memory bounded whatever the number of salts', async () => {
    const rig = new Rig({ prefixCacheBytes: 500 });
    for (let i = 0; i < 100; i++) {
      rig.add(`${i}`, prompt(9, i), { maxTokens: 2 }, { cacheSalt: `salt ${i}` });
      await rig.finish();
    }
    const { bytes, entries } = rig.engine.stats().prefixCache;
    expect(bytes).toBeLessThanOrEqual(500);
    expect(entries).toBeLessThan(20);
    // A tree without snapshots would fail this.
    rig.engine.checkIntegrity();
  });

  test('goes by the salt where a request gives way and comes back', async () => {
    const rig = new Rig({ maxNumSeqs: 1 });
    rig.add('low', prompt(10), { maxTokens: 6, priority: 1 }, { cacheSalt: 'a' });
    await rig.step();
    await rig.step();
    rig.add('high', prompt(10), { maxTokens: 6, priority: 0 }, { cacheSalt: 'b' });
    await rig.finish();
    expect(rig.engine.stats().preemptions).toBe(1);
    expect(rig.ended.get('high')?.numCachedTokens).toBe(0);
    expect(rig.tokens.get('low')).toEqual(rig.tokens.get('high'));
  });
});

describe('cacheSalt', () => {
  test('holds for a generation, and for all that a session does', async () => {
    await using llm = await LLM.load(GOLDEN);
    const ids = Array.from({ length: 20 }, (_, i) => i);
    const processed = async (run: () => Promise<unknown>) => {
      const before = llm.engine.stats().prefillTokens;
      await run();
      return llm.engine.stats().prefillTokens - before;
    };
    const options = { maxTokens: 1, temperature: 0 };
    expect(await processed(() => llm.complete(ids, { ...options, cacheSalt: 'a' }))).toBe(20);
    expect(await processed(() => llm.complete(ids, options))).toBe(20);
    expect(await processed(() => llm.complete(ids, { ...options, cacheSalt: 'a' }))).toBe(0);
    expect(await processed(() => llm.createSession({ cacheSalt: 'b' }).append(ids))).toBe(20);
    expect(await processed(() => llm.createSession({ cacheSalt: 'b' }).append(ids))).toBe(0);
    expect(await processed(() => llm.createSession({ cacheSalt: 'a' }).append(ids))).toBe(0);
    const fork = await (async () => {
      const session = llm.createSession({ cacheSalt: 'b' });
      await session.append([...ids, 30]);
      return session.fork();
    })();
    expect(await processed(() => fork.append([31]))).toBe(1);
    expect(await processed(() => llm.complete([...ids, 30, 31, 32], options))).toBe(3);
  });

  test('is a text that is not empty, and a session has one', async () => {
    await using llm = await LLM.load(GOLDEN);
    await expect(llm.complete([1], { cacheSalt: '' })).rejects.toThrow(SamplingParamsError);
    expect(() => llm.createSession({ cacheSalt: '' })).toThrow(/cacheSalt is ""/);
    const options = { cacheSalt: 'a', maxTokens: 1 };
    await expect(llm.createSession().generate([1], options).next()).rejects.toThrow(/createSession/);
  });
});
