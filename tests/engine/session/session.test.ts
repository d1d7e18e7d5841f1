import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import type { Session } from '../../../src/engine/session/session.ts';
import { ArgumentError, DisposedError, ModelMismatchError, SessionFileError } from '../../../src/errors.ts';
import { runs } from '../../runs.ts';
import { changedGolden, GOLDEN } from '../golden-folder.ts';

const GREEDY = { temperature: 0, maxTokens: 5, ignoreEos: true };

async function generated(session: Session, prompt?: string | number[], options = {}): Promise<number[]> {
  const tokenIds = [];
  for await (const { tokenId } of session.generate(prompt, { ...GREEDY, ...options })) tokenIds.push(tokenId);
  return tokenIds;
}

describe.each([
  ['reference', 'float32', 1],
  ['cpu', 'float32', 1],
  ['cpu', 'int8', 2],
] as const)('a session on %s with %s weights and %d ranks', (device, dtype, tensorParallelSize) => {
  const load = (folder = GOLDEN) => LLM.load(folder, { device, dtype, tensorParallelSize });

  test('continues with the same tokens as its whole text, and processes only what is new', async () => {
    await using llm = await load();
    const session = llm.createSession();
    await session.append([1, 2, 3, 4, 5, 6, 7, 8]);
    const answer = await generated(session);
    const more = await generated(session, [9, 10]);
    const { prefillTokens, decodeTokens } = llm.engine.stats();
    expect(prefillTokens).toBe(8 + 3);
    expect(decodeTokens).toBe(4 + 4);
    const whole = [1, 2, 3, 4, 5, 6, 7, 8, ...answer, 9, 10];
    expect(session.tokenIds).toEqual([...whole, ...more]);
    await using fresh = await load();
    expect((await fresh.complete([1, 2, 3, 4, 5, 6, 7, 8], GREEDY)).tokenIds).toEqual(answer);
    expect((await fresh.complete(whole, GREEDY)).tokenIds).toEqual(more);
  }, 300_000);

  test('survives in a file', async () => {
    const [file, tokenIds, next] = await (async () => {
      await using llm = await load();
      const session = llm.createSession();
      await session.append(Array.from({ length: 30 }, (_, i) => i * 3));
      await generated(session);
      const saved = await session.save();
      const { tokenIds: before } = session;
      return [saved, before, await generated(session, [4])] as const;
    })();
    await using llm = await load();
    const session = await llm.loadSession(file);
    expect(session.tokenIds).toEqual(tokenIds);
    expect(await generated(session, [4])).toEqual(next);
    expect(llm.engine.stats().prefillTokens).toBeLessThanOrEqual(2);
  }, 300_000);
});

describe('a session', () => {
  test('forks into sessions that do not know of each other', async () => {
    await using llm = await LLM.load(GOLDEN, { enablePrefixCaching: false });
    const session = llm.createSession();
    await session.append([1, 2, 3]);
    const fork = session.fork();
    const first = await generated(session, [4]);
    session.dispose();
    expect(await generated(fork, [4])).toEqual(first);
    expect(llm.engine.stats().prefillTokens).toBe(3 + 1 + 1);
    fork.dispose();
    await llm.complete([1], { maxTokens: 1 });
    llm.engine.checkIntegrity();
    expect(llm.engine.stats().prefixCache.entries).toBe(0);
  });

  test('rewinds to any token, and continues from the nearest state', async () => {
    await using llm = await LLM.load(GOLDEN, { snapshotInterval: 8 });
    const session = llm.createSession();
    const ids = Array.from({ length: 50 }, (_, i) => (i * 11) % 256);
    await session.append(ids);
    session.rewind(13);
    expect(session.tokenIds).toEqual(ids.slice(0, 37));
    const before = llm.engine.stats().prefillTokens;
    const answer = await generated(session, [7]);
    expect(llm.engine.stats().prefillTokens - before).toBe(37 - 32 + 1);
    await using fresh = await LLM.load(GOLDEN);
    expect((await fresh.complete([...ids.slice(0, 37), 7], GREEDY)).tokenIds).toEqual(answer);
    session.rewind(session.tokenIds.length);
    expect(await generated(session, ids)).toEqual((await fresh.complete(ids, GREEDY)).tokenIds);
  });

  test('keeps what was read when the loop is left early', async () => {
    await using llm = await LLM.load(GOLDEN);
    const session = llm.createSession();
    const read: number[] = [];
    for await (const { tokenId } of session.generate([1, 2], { ...GREEDY, maxTokens: 50 })) {
      read.push(tokenId);
      if (read.length === 3) break;
    }
    expect(session.tokenIds).toEqual([1, 2, ...read]);
    const next = await generated(session);
    expect(next).toEqual((await llm.complete([1, 2, ...read], GREEDY)).tokenIds);
  });

  test('tokenizes text as it grows', async () => {
    await using llm = await LLM.load('tiny-dts');
    const session = llm.createSession();
    await session.append('export interface User {\n');
    const answer = await generated(session, '  readonly id');
    const ids = [
      ...llm.tokenize('export interface User {\n'),
      ...llm.tokenize('  readonly id', { addSpecialTokens: false }),
    ];
    expect(session.tokenIds).toEqual([...ids, ...answer]);
  });

  test('refuses what it can not do', async () => {
    await using llm = await LLM.load(GOLDEN);
    const session = llm.createSession();
    const appending = session.append([1, 2, 3]);
    expect(() => session.fork()).toThrow(/busy/);
    await expect(session.append([1])).rejects.toThrow(ArgumentError);
    await appending;
    expect(() => session.rewind(4)).toThrow(/4 tokens of a session of 3/);
    await expect(generated(session, [1], { n: 2 })).rejects.toThrow(ArgumentError);
    await expect(generated(session, [256])).rejects.toThrow(/outside the vocabulary/);
    session.dispose();
    await expect(session.save()).rejects.toThrow(DisposedError);
  });

  test('is saved after a rewind, and without tokens', async () => {
    await using llm = await LLM.load(GOLDEN);
    const session = llm.createSession();
    expect((await llm.loadSession(await session.save())).tokenIds).toEqual([]);
    await session.append([1, 2, 3, 4]);
    session.rewind(2);
    const copy = await llm.loadSession(await session.save());
    expect(copy.tokenIds).toEqual([1, 2]);
    expect(await generated(copy)).toEqual(await generated(session));
  });
});

describe('a session file', () => {
  const save = async (llm: LLM) => {
    const session = llm.createSession();
    await session.append([5, 6, 7, 8, 9]);
    return session.save();
  };

  test('goes from any number of ranks to any other', async () => {
    await using two = await LLM.load(GOLDEN, { tensorParallelSize: 2 });
    await using one = await LLM.load(GOLDEN);
    const [fromTwo, fromOne] = [await save(two), await save(one)];
    const answer = (await one.complete([5, 6, 7, 8, 9, 3], GREEDY)).tokenIds;
    expect(await generated(await one.loadSession(fromTwo), [3])).toEqual(answer);
    expect(await generated(await two.loadSession(fromOne), [3])).toEqual(answer);
  }, 300_000);

  test('of another model is refused, with what differs', async () => {
    await using llm = await LLM.load(GOLDEN, { dtype: 'float32' });
    const file = await save(llm);
    const refusal = async (folder: string, options = {}) => {
      await using other = await LLM.load(folder, { dtype: 'float32', ...options });
      return other.loadSession(file).catch((error: unknown) => error);
    };
    const retrained = await changedGolden({
      tensors: (tensors) => {
        for (const { data } of tensors.values()) for (let i = 0; i < data.length; i++) data[i] *= 1.001;
      },
    });
    const other = await changedGolden({ config: { layer_norm_epsilon: 1e-4 } });
    for (const [found, message] of [
      [await refusal(retrained), /weights are not the same/],
      [await refusal(other), /config has other sizes or options/],
      [await refusal(GOLDEN, { dtype: 'int8' }), /loaded as float32, this model's as int8/],
    ] as const) {
      expect(found).toBeInstanceOf(ModelMismatchError);
      expect(String(found)).toMatch(message);
    }
  });

  test('that is cut, changed or something else is refused, whatever it holds', async () => {
    await using llm = await LLM.load(GOLDEN);
    const file = await save(llm);
    await expect(llm.loadSession(new Uint8Array())).rejects.toThrow(SessionFileError);
    await expect(llm.loadSession(new TextEncoder().encode('{"not": "a session"}'))).rejects.toThrow(SessionFileError);
    for (const length of [1, 8, 100, file.length - 1]) {
      await expect(llm.loadSession(file.slice(0, length))).rejects.toThrow(SessionFileError);
    }
    const header = new TextDecoder().decode(file.subarray(8, 8 + file[0] + 256 * file[1]));
    const edits: readonly (readonly [RegExp, string])[] = [
      [/mamba2-session/, 'mamba2-sessiom'],
      [/"version":"1"/, '"version":"9"'],
      [/"length":"5"/, '"length":"9"'],
      [/"length":"5"/, '"length":"x"'],
      [/architecture/, 'architectura'],
      [/"token_ids"/, '"token_idz"'],
      [/F32/, 'I32'],
    ];
    for (const [pattern, replacement] of edits) {
      const edited = file.slice();
      edited.set(new TextEncoder().encode(header.replace(pattern, replacement)), 8);
      await expect(llm.loadSession(edited), replacement).rejects.toThrow(SessionFileError);
    }
    const anyDamage = fc.tuple(fc.nat(file.length - 1), fc.integer({ min: 1, max: 255 }));
    await fc.assert(
      fc.asyncProperty(fc.array(anyDamage, { minLength: 1, maxLength: 4 }), async (damages) => {
        const damaged = file.slice();
        // In the header, where a change has a meaning.
        for (const [at, mask] of damages) damaged[at % (8 + header.length)] ^= mask;
        try {
          (await llm.loadSession(damaged)).dispose();
        } catch (error) {
          expect(error instanceof SessionFileError || error instanceof ModelMismatchError, String(error)).toBe(true);
        }
      }),
      { numRuns: runs(200), seed: 5 },
    );
    expect((await llm.complete([1], GREEDY)).tokenIds).toHaveLength(5);
  });
});
