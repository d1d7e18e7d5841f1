import { describe, expect, test } from 'vitest';
import type { EngineContext } from '../../../src/engine/load/engine-options.ts';
import type { Snapshot } from '../../../src/engine/state/snapshot.ts';
import { ContextLengthError } from '../../../src/errors.ts';
import { prompt, Rig } from '../engine-rig.ts';
import { FAKE_VOCAB, fakeAnswer } from '../fake-executor.ts';

const BLOCK_SIZE = 4;

/** A rig of a hybrid, with room for so many blocks. */
const hybrid = (numBlocks: number, context: Partial<EngineContext> = {}) =>
  new Rig(
    { maxNumBatchedTokens: 64, snapshotInterval: 8, prefixCacheBytes: 1e6, ...context },
    { numBlocks, blockSize: 4 },
  );
const answer = (tokenIds: readonly number[], count: number) => [fakeAnswer(tokenIds, count, true)];
const used = (rig: Rig) => rig.engine.stats().blocks - rig.engine.stats().freeBlocks;

/** Processes a prompt and holds on to the state after it, as a session does. */
async function held(rig: Rig, tokenIds: number[]): Promise<Snapshot> {
  let state: Snapshot | undefined;
  const onFinalState = (final: Snapshot) => {
    state = final;
  };
  rig.add(`${Math.random()}`, tokenIds, { maxTokens: 1 }, { onFinalState });
  await rig.finish();
  if (!state) throw new Error('there is no final state');
  return state;
}

describe('blocks', () => {
  test('are as many as the tokens take, and free again with the sequence', async () => {
    const rig = hybrid(20, { enablePrefixCaching: false });
    rig.add('a', prompt(9), { maxTokens: 5 });
    const counts = [];
    while (rig.engine.hasUnfinishedRequests()) {
      await rig.step();
      counts.push(used(rig));
    }
    // 9 to 12 tokens have been processed, then the 13th.
    expect(counts).toEqual([3, 3, 3, 3, 0]);
    expect(rig.tokens.get('a')).toEqual(answer(prompt(9), 5));
  });

  test('that are full are shared by the answers to a prompt, and the last one is copied', async () => {
    const rig = hybrid(20, { enablePrefixCaching: false });
    rig.add('a', prompt(10), { maxTokens: 3, n: 3, ignoreEos: true });
    await rig.step();
    expect(used(rig)).toBe(2 + 3);
    await rig.finish();
    const { commands = [] } = rig.executor.batches[1];
    expect(commands.filter(({ type }) => type === 'copyBlock')).toHaveLength(2);
    expect(rig.tokens.get('a')).toEqual([...answer(prompt(10), 3), ...answer(prompt(10), 3), ...answer(prompt(10), 3)]);
  });

  test('are shared with the prefix cache, and copied only to continue from the middle of one', async () => {
    const rig = hybrid(40);
    const tokenIds = prompt(30);
    rig.add('a', tokenIds, { maxTokens: 1 });
    await rig.finish();
    // Snapshots after 8, 16, 24 and 30 tokens.
    expect(rig.engine.stats().prefixCache.entries).toBe(4);
    expect(used(rig)).toBe(8);
    const bytes = (length: number) => 4 + 4 * FAKE_VOCAB + 4 * length;
    expect(rig.engine.stats().prefixCache.bytes).toBe([8, 16, 24, 30].reduce((sum, n) => sum + bytes(n), 8 * 16));
    const edited = tokenIds.with(25, 3);
    for (const [id, next, copies] of [
      ['same', [...tokenIds, 1], 1],
      ['edited', edited, 0],
    ] as const) {
      rig.add(id, [...next], { maxTokens: 2 });
      const before = rig.executor.batches.length;
      await rig.step();
      const { commands = [] } = rig.executor.batches[before];
      expect(commands.filter(({ type }) => type === 'copyBlock')).toHaveLength(copies);
      await rig.finish();
      expect(rig.tokens.get(id)).toEqual(answer(next, 2));
    }
  });
});

describe('where blocks run out', () => {
  test('the last to come is pre-empted, and gets the same answer', async () => {
    const rig = hybrid(9, { enablePrefixCaching: false });
    for (const id of ['a', 'b', 'c']) rig.add(id, prompt(8, id.charCodeAt(0)), { maxTokens: 12 });
    await rig.finish();
    for (const id of ['a', 'b', 'c']) expect(rig.tokens.get(id)).toEqual(answer(prompt(8, id.charCodeAt(0)), 12));
    expect([...rig.ended.keys()]).toEqual(['a', 'b', 'c']);
    expect(rig.engine.stats().preemptions).toBeGreaterThan(0);
    expect(rig.engine.stats().freeBlocks).toBe(9);
  });

  test('no sequence begins without them, and none overtakes', async () => {
    const rig = hybrid(9, { enablePrefixCaching: false });
    rig.add('long', prompt(20), { maxTokens: 3 });
    rig.add('longer', prompt(24, 1), { maxTokens: 3 });
    rig.add('short', prompt(2, 2), { maxTokens: 3 });
    await rig.step();
    expect(rig.engine.stats()).toMatchObject({ runningRequests: 1, waitingRequests: 2 });
    await rig.finish();
    expect([...rig.ended.keys()]).toEqual(['long', 'longer', 'short']);
    expect(rig.engine.stats().preemptions).toBe(0);
  });

  test('a higher priority takes them, and so does a sequence that waits for a paused request', async () => {
    for (const victim of ['low', 'paused']) {
      const rig = hybrid(9);
      rig.add(victim, prompt(20), { maxTokens: 6, priority: victim === 'low' ? 2 : 1 });
      await rig.step();
      await rig.step();
      if (victim === 'paused') rig.engine.setPaused(victim, true);
      rig.add('next', prompt(22, 1), { maxTokens: 3, priority: 1 });
      while (rig.engine.hasWork() && !rig.ended.has('next')) await rig.step();
      expect(rig.ended.has(victim)).toBe(false);
      rig.engine.setPaused(victim, false);
      await rig.finish();
      expect(rig.tokens.get('next')).toEqual(answer(prompt(22, 1), 3));
      expect(rig.tokens.get(victim)).toEqual(answer(prompt(20), 6));
    }
  });

  test('snapshots go first: the end of what was used longest ago, not its beginning', async () => {
    const rig = hybrid(13);
    rig.add('a', prompt(28), { maxTokens: 1 });
    await rig.finish();
    rig.add('b', prompt(15, 1), { maxTokens: 1 });
    await rig.finish();
    expect(used(rig)).toBe(7 + 4);
    rig.add('c', prompt(10, 2), { maxTokens: 1 });
    await rig.finish();
    expect(rig.engine.stats().preemptions).toBe(0);
    expect(rig.engine.stats().prefixCache.evictions).toBe(1);
    // The first 24 tokens are there still.
    const before = rig.engine.stats().prefillTokens;
    rig.add('again', prompt(28), { maxTokens: 1 });
    await rig.finish();
    expect(rig.engine.stats().prefillTokens - before).toBe(4);
  });

  test('states that have an owner are evicted last, and are computed again', async () => {
    const rig = hybrid(11);
    const state = await held(rig, prompt(16));
    rig.add('b', prompt(18, 1), { maxTokens: 2 });
    await rig.finish();
    expect(rig.engine.savedStates.has(state)).toBe(true);
    rig.add('c', prompt(35, 2), { maxTokens: 2 });
    await rig.finish();
    expect(rig.engine.savedStates.has(state)).toBe(false);
    expect(rig.tokens.get('c')).toEqual(answer(prompt(35, 2), 2));
    rig.engine.savedStates.release(state);
    rig.engine.checkIntegrity();
  });
});

describe('what can never fit', () => {
  test('is refused: a prompt longer than one sequence may be', () => {
    const rig = hybrid(6);
    expect(() => rig.add('a', prompt(20), { maxTokens: 1 })).toThrow(ContextLengthError);
    expect(() => rig.add('a', prompt(20), { maxTokens: 1 })).toThrow(/20 tokens.* 20 together.*kvCacheMemoryBytes/s);
    rig.add('b', prompt(19), { maxTokens: 1 });
    const limited = hybrid(100, { maxModelLen: 10 });
    expect(() => limited.add('a', prompt(10), { maxTokens: 1 })).toThrow(ContextLengthError);
  });

  test('ends where the room does: a longer answer', async () => {
    const rig = hybrid(6);
    rig.add('a', prompt(10), { maxTokens: 50, ignoreEos: true, n: 2 });
    await rig.finish();
    expect(rig.tokens.get('a')).toEqual([...answer(prompt(10), 10), ...answer(prompt(10), 10)]);
    expect(rig.ended.get('a')?.outputs[0].finishReason).toBe('length');
  });
});

describe('states in files', () => {
  test('hold the keys and values of their tokens, and continue elsewhere with the same tokens', async () => {
    for (const length of [7, 8, 13]) {
      const tokenIds = prompt(length, 3);
      const rig = hybrid(20);
      const state = await rig.engine.savedStates.read(await held(rig, tokenIds));
      expect(state.length).toBe(1 + length);
      const other = hybrid(20);
      other.add('before', prompt(17, 1), { maxTokens: 2 });
      await other.finish();
      const written = await other.engine.savedStates.write(tokenIds, state, undefined);
      expect(written?.blocks).toHaveLength(Math.ceil(length / BLOCK_SIZE));
      const { prefillTokens } = other.engine.stats();
      other.add('on', [...tokenIds, 5, 6], { maxTokens: 6 });
      await other.finish();
      expect(other.tokens.get('on')).toEqual(answer([...tokenIds, 5, 6], 6));
      expect(other.engine.stats().prefillTokens - prefillTokens).toBe(2);
    }
  });

  test('do not disturb what is decided and not yet done', async () => {
    const tokenIds = prompt(13, 3);
    const source = hybrid(20);
    const state = await source.engine.savedStates.read(await held(source, tokenIds));
    const rig = hybrid(9, { enablePrefixCaching: false, maxNumSeqs: 2 });
    rig.add('a', prompt(6), { maxTokens: 4, n: 2 });
    await rig.step();
    // Its second answer has yet to copy a block, into one that is free now.
    rig.engine.abortRequest('a');
    await rig.engine.savedStates.write(tokenIds, state, undefined);
    rig.add('on', [...tokenIds, 5], { maxTokens: 4 });
    await rig.finish();
    expect(rig.tokens.get('on')).toEqual(answer([...tokenIds, 5], 4));
    expect(rig.engine.stats().prefillTokens).toBe(6 + 1);
  });

  test('find no room while sequences need all of it', async () => {
    const rig = hybrid(9, { enablePrefixCaching: false });
    rig.add('a', prompt(30), { maxTokens: 2 });
    await rig.step();
    expect(await rig.engine.savedStates.write(prompt(5, 1), new Float32Array(6), undefined)).toBeUndefined();
    await rig.finish();
    expect(await rig.engine.savedStates.write(prompt(5, 1), new Float32Array(6), undefined)).toBeDefined();
    rig.engine.checkIntegrity();
  });
});

describe('an executor that fails', () => {
  test('leaves no block taken', async () => {
    const rig = hybrid(20, { maxNumSeqs: 2 });
    const state = await held(rig, prompt(9));
    rig.add('a', prompt(12), { maxTokens: 9, n: 2 });
    await rig.step();
    rig.executor.failure = new Error('a rank died');
    await rig.step();
    expect(rig.engine.stats()).toMatchObject({ freeBlocks: 20, freeSlots: 2 });
    rig.engine.savedStates.release(state);
    rig.engine.checkIntegrity();
  });
});
