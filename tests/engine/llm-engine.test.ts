import { describe, expect, test } from 'vitest';
import { LAST_SAMPLED } from '../../src/backends/contract/sampling.ts';
import { ArgumentError, EmptyPromptError, QueueFullError } from '../../src/errors.ts';
import { greedy, prompt, Rig } from './engine-rig.ts';
import { FAKE_VOCAB, FakeExecutor, fakeAnswer } from './fake-executor.ts';

describe('where the executor samples', () => {
  /** Per step: what it was told to go on from. */
  const told = ({ executor }: Rig) =>
    executor.batches.map(({ sequences }) => sequences.map(({ tokenIds }) => tokenIds));

  test('is told of the next step before it has given this one, and nothing comes of what it does too much', async () => {
    const rig = new Rig({ snapshotInterval: 100 }, undefined, true);
    rig.add('a', [1, 2], { maxTokens: 9, ignoreEos: true });
    await rig.step();
    expect(told(rig)).toEqual([[[1, 2]], [[LAST_SAMPLED]]]);
    await rig.step();
    expect(told(rig)).toEqual([[[1, 2]], [[LAST_SAMPLED]], [[LAST_SAMPLED]]]);
    await rig.finish();
    expect(rig.tokens.get('a')).toEqual([fakeAnswer([1, 2], 9)]);
    // One for each token, and none behind the last.
    expect(rig.executor.batches).toHaveLength(9);
    expect(rig.engine.hasWork()).toBe(false);
  });

  test.each([true, false])(
    'chooses the token after a prompt; its logits are kept with the state (%s)',
    async (isCaching) => {
      const rig = new Rig({ snapshotInterval: 100, enablePrefixCaching: isCaching }, undefined, true);
      const options = { maxTokens: 2, ignoreEos: true };
      rig.add('a', [1, 2], options);
      await rig.finish();
      const [{ sequences }] = rig.executor.batches;
      expect([sequences[0].sampling !== undefined, sequences[0].givesLogits ?? false]).toEqual([true, isCaching]);
      rig.add('b', [1, 2], options);
      await rig.finish();
      const answer = fakeAnswer([1, 2], 2);
      expect([rig.tokens.get('a'), rig.tokens.get('b')]).toEqual([[answer], [answer]]);
      // A prompt that is known to its end is not processed again.
      expect(
        told(rig)
          .flat()
          .filter(({ length }) => length === 2),
      ).toHaveLength(isCaching ? 1 : 2);
      // The answers to one prompt share its logits.
      rig.add('c', [3, 4], { ...options, n: 2 });
      await rig.step();
      expect(rig.executor.batches.at(-1)?.sequences[0].sampling).toBeUndefined();
      await rig.finish();
    },
  );

  test('waits for the token where what comes next depends on it', async () => {
    const plain = { maxTokens: 4, ignoreEos: true };
    const dependent = [{ repetitionPenalty: 1.1 }, { logprobs: 1 }, { stop: 'x' }, { halfLifeInterval: 1 }];
    for (const options of dependent) {
      const rig = new Rig({ snapshotInterval: 100 }, undefined, true);
      rig.add('a', [1, 2], { ...plain, ...options });
      await rig.finish();
      expect(told(rig).flat(2)).not.toContain(LAST_SAMPLED);
      expect(rig.ended.get('a')?.error).toBeUndefined();
    }
  });

  test('leaves out what has ended, though as many run because another was resumed', async () => {
    const rig = new Rig({ snapshotInterval: 100 }, { numBlocks: 40, blockSize: 2 }, true);
    const answer = fakeAnswer([1, 2], 4, true);
    const options = { maxTokens: 9, ignoreEos: true };
    rig.add('ends', [1, 2], { ...options, stopTokenIds: [answer[3]] });
    rig.add('stays', [3, 4], options);
    rig.add('waits', [5, 6], options);
    await rig.step();
    rig.engine.setPaused('waits', true);
    while (!rig.ended.has('ends')) await rig.step();
    rig.engine.setPaused('waits', false);
    await rig.finish();
    expect(rig.tokens.get('ends')).toEqual([answer.slice(0, answer.indexOf(answer[3]) + 1)]);
    expect(rig.tokens.get('stays')).toEqual([fakeAnswer([3, 4], 9, true)]);
    expect(rig.tokens.get('waits')).toEqual([fakeAnswer([5, 6], 9, true)]);
  });

  test('goes on ahead where one of the answers has ended', async () => {
    const rig = new Rig({ snapshotInterval: 100 }, undefined, true);
    const answer = fakeAnswer([1, 2], 2);
    rig.add('ends', [1, 2], { maxTokens: 9, ignoreEos: true, stopTokenIds: [answer[1]] });
    rig.add('stays', [3, 4], { maxTokens: 9, ignoreEos: true });
    await rig.finish();
    expect(rig.tokens.get('stays')).toEqual([fakeAnswer([3, 4], 9)]);
    expect(new Set(told(rig).slice(1).flat(2))).toEqual(new Set([LAST_SAMPLED]));
  });

  test('a failure in a step that was begun ahead ends what runs once', async () => {
    const rig = new Rig({ snapshotInterval: 100 }, undefined, true);
    rig.add('a', [1, 2], { maxTokens: 9, ignoreEos: true });
    await rig.step();
    await rig.step();
    rig.executor.failure = new Error('gone');
    await rig.finish();
    expect(rig.ended.get('a')?.error?.message).toBe('gone');
    expect(rig.engine.hasWork()).toBe(false);
  });
});

describe('a step', () => {
  test('takes decodes first, then prompt chunks within the budget', async () => {
    const rig = new Rig({ maxNumBatchedTokens: 6, enablePrefixCaching: false });
    rig.add('short', prompt(2), { maxTokens: 10 });
    await rig.step();
    rig.add('long', prompt(11), { maxTokens: 2 });
    const sizes = [];
    for (let i = 0; i < 4; i++) {
      await rig.step();
      sizes.push(rig.executor.batches.at(-1)?.sequences.map(({ tokenIds }) => tokenIds.length));
    }
    expect(sizes).toEqual([
      [1, 5],
      [1, 5],
      [1, 1],
      [1, 1],
    ]);
  });

  test('cuts prompts where states are kept', async () => {
    const rig = new Rig({ snapshotInterval: 4 });
    rig.add('a', prompt(10), { maxTokens: 1 });
    await rig.finish();
    expect(rig.executor.batches.map(({ sequences }) => sequences.map(({ tokenIds }) => tokenIds.length))).toEqual([
      [4],
      [4],
      [2],
    ]);
  });

  test('serves all in turn where the budget is smaller than the batch', async () => {
    const rig = new Rig({ maxNumBatchedTokens: 1 });
    rig.add('a', [1], { maxTokens: 4, n: 3 });
    const lengths = () => rig.tokens.get('a')?.map(({ length }) => length);
    await rig.step();
    expect(lengths()).toEqual([1, 1, 1]);
    for (let i = 0; i < 6; i++) await rig.step();
    expect(lengths()).toEqual([3, 3, 3]);
  });
});

describe('the queue', () => {
  test('is first come first served among equals, and lower priorities go first', async () => {
    const rig = new Rig({ maxNumSeqs: 1 });
    for (const [id, priority] of [
      ['a', 1],
      ['b', 1],
      ['c', 0],
    ] as const)
      rig.add(id, [1, 2], { maxTokens: 1, priority });
    await rig.finish();
    expect([...rig.ended.keys()]).toEqual(['c', 'a', 'b']);
  });

  test('refuses what is one too many, and nothing accepted is lost', async () => {
    const rig = new Rig({ maxNumSeqs: 1, maxQueueSize: 2 });
    rig.add('a', [1], { maxTokens: 5 });
    await rig.step();
    rig.add('b', [1]);
    rig.add('c', [1]);
    expect(() => rig.add('d', [1])).toThrow(QueueFullError);
    await rig.finish();
    expect([...rig.ended.keys()]).toEqual(['a', 'b', 'c']);
    expect(rig.engine.stats().refusedRequests).toBe(1);
  });

  test('refuses ids in use and prompts without tokens', () => {
    const rig = new Rig();
    rig.add('a', [1]);
    expect(() => rig.add('a', [1])).toThrow(ArgumentError);
    expect(() => rig.add('b', [])).toThrow(EmptyPromptError);
    expect(() => rig.add('b', [1], { priority: Number.NaN })).toThrow(ArgumentError);
  });

  test('gives a slot to a higher priority, and the one that lost it continues where it was', async () => {
    const rig = new Rig({ maxNumSeqs: 1 });
    rig.add('low', prompt(9), { maxTokens: 8, priority: 5 });
    for (let i = 0; i < 6; i++) await rig.step();
    rig.add('high', prompt(3, 1), { maxTokens: 2, priority: 1 });
    await rig.finish();
    expect([...rig.ended.keys()]).toEqual(['high', 'low']);
    expect(rig.tokens.get('low')).toEqual([fakeAnswer(prompt(9), 8)]);
    const { preemptions, prefillTokens } = rig.engine.stats();
    expect(preemptions).toBe(1);
    expect(prefillTokens).toBe(9 + 3);
  });

  test('gives the slot of a paused request away, and gives it another when it is resumed', async () => {
    const rig = new Rig({ maxNumSeqs: 1 });
    rig.add('slow', prompt(5), { maxTokens: 6 });
    for (let i = 0; i < 4; i++) await rig.step();
    rig.engine.setPaused('slow', true);
    expect(rig.engine.hasWork()).toBe(false);
    rig.add('other', prompt(2, 1), { maxTokens: 3 });
    while (rig.engine.hasWork()) await rig.step();
    expect([...rig.ended.keys()]).toEqual(['other']);
    rig.engine.setPaused('slow', false);
    await rig.finish();
    expect(rig.tokens.get('slow')).toEqual([fakeAnswer(prompt(5), 6)]);
  });
});

describe('an evaluation', () => {
  test('hands over the logits of each position once, though it loses its slot, and leaves no state', async () => {
    const rig = new Rig({ maxNumSeqs: 1, maxNumBatchedTokens: 4 });
    const positions: number[] = [];
    const onPromptLogits = (logits: Float32Array, first: number) => {
      for (let row = 0; row < logits.length / FAKE_VOCAB; row++) positions.push(first + row);
    };
    const params = { ...greedy({ promptLogprobs: 1 }), maxTokens: 0 };
    rig.engine.addRequest({ requestId: 'e', promptTokenIds: prompt(18), params, priority: 2, onPromptLogits });
    for (let i = 0; i < 3; i++) await rig.step();
    rig.add('urgent', prompt(2, 1), { maxTokens: 3, priority: 1 });
    await rig.finish();
    expect([...rig.ended.keys()]).toEqual(['urgent', 'e']);
    expect(positions).toEqual(Array.from({ length: 18 }, (_, i) => i));
    expect(rig.ended.get('e')?.promptLogprobs).toHaveLength(18);
    expect(rig.ended.get('e')?.outputs).toMatchObject([{ tokens: [], finishReason: 'length' }]);
    expect(rig.engine.stats()).toMatchObject({ preemptions: 1, prefixCache: { entries: 2 } });
  });

  test('of a large vocabulary takes steps of few tokens, and lets others have theirs', async () => {
    // The fake model has few tokens; the engine is told of so many that a step takes the logits of four.
    const rig = new Rig({ vocabSize: 2 ** 20 });
    const evaluation = { ...greedy(), maxTokens: 0 };
    const onPromptLogits = () => {};
    for (const requestId of ['e', 'f']) {
      rig.engine.addRequest({ requestId, promptTokenIds: prompt(8), params: evaluation, onPromptLogits });
    }
    rig.engine.addRequest({ requestId: 'g', promptTokenIds: prompt(10, 1), params: evaluation });
    for (let i = 0; i < 4; i++) await rig.step();
    const sizes = rig.executor.batches.map(({ sequences }) => sequences.map(({ tokenIds }) => tokenIds.length));
    expect(sizes.slice(0, 4).map((step) => Math.max(...step))).toEqual([4, 4, 4, 4]);
    expect([...rig.ended.keys()].sort()).toEqual(['e', 'f', 'g']);
  });

  test('whose receiver fails ends with that error, and nothing else does', async () => {
    const rig = new Rig();
    const onPromptLogits = () => {
      throw new Error('no room');
    };
    rig.engine.addRequest({ requestId: 'e', promptTokenIds: [1], params: greedy(), onPromptLogits });
    rig.add('other', [1], { maxTokens: 2 });
    await rig.finish();
    expect(rig.ended.get('e')?.error?.message).toBe('no room');
    expect(rig.tokens.get('other')).toEqual([fakeAnswer([1], 2)]);
  });
});

describe('prefixes', () => {
  const prefilled = async (rig: Rig, tokenIds: number[]): Promise<number> => {
    const before = rig.engine.stats();
    const id = `${Math.random()}`;
    rig.add(id, tokenIds, { maxTokens: 3 });
    await rig.finish();
    expect(rig.tokens.get(id)).toEqual([fakeAnswer(tokenIds, 3)]);
    const after = rig.engine.stats();
    // The first answer token needs no step of its own, so decodes are what is left of all tokens.
    return after.prefillTokens + after.decodeTokens - before.prefillTokens - before.decodeTokens - 2;
  };

  test('cost nothing the second time, and an edit costs the way to the end plus one interval at most', async () => {
    const rig = new Rig({ prefixCacheBytes: 1e6, snapshotInterval: 8 });
    const tokenIds = prompt(100);
    expect(await prefilled(rig, tokenIds)).toBe(100);
    expect(await prefilled(rig, tokenIds)).toBe(0);
    for (const at of [1, 50, 73, 99]) {
      const edited = tokenIds.with(at, (tokenIds[at] + 1) % FAKE_VOCAB);
      expect(await prefilled(rig, edited)).toBeLessThan(100 - at + 8);
    }
    const answered = [...tokenIds, ...fakeAnswer(tokenIds, 3)];
    expect(await prefilled(rig, [...answered, 1, 2])).toBe(3);
    expect(await prefilled(rig, tokenIds.slice(0, 37))).toBe(37 - 32);
  });

  test('are forgotten least recently used first', async () => {
    // Each prompt leaves two snapshots: state, logits and tokens.
    const bytesOf = (length: number) => 4 + 4 * FAKE_VOCAB + 4 * length;
    const rig = new Rig({ prefixCacheBytes: 3 * (bytesOf(3) + bytesOf(5)), snapshotInterval: 64 });
    for (const seed of [1, 2, 3]) await prefilled(rig, prompt(3, seed));
    expect(await prefilled(rig, prompt(3, 1))).toBe(0);
    await prefilled(rig, prompt(3, 4));
    expect(await prefilled(rig, prompt(3, 1))).toBe(0);
    expect(await prefilled(rig, prompt(3, 2))).toBe(3);
    expect(rig.engine.stats().prefixCache.evictions).toBeGreaterThan(0);
  });

  test('count queries and hits', async () => {
    const rig = new Rig({ prefixCacheBytes: 1e6 });
    await prefilled(rig, prompt(10));
    await prefilled(rig, prompt(10));
    expect(rig.engine.stats().prefixCache).toMatchObject({ queries: 2, hits: 1, queriedTokens: 20, hitTokens: 10 });
  });
});

describe('an executor that fails', () => {
  test('ends all requests, and later ones at once, where it can not be loaded again', async () => {
    const rig = new Rig({ maxNumSeqs: 1 });
    rig.add('a', [1]);
    rig.add('b', [1]);
    await rig.step();
    rig.executor.failure = new Error('a rank died');
    await rig.step();
    expect([...rig.ended.values()].map(({ error }) => error?.message)).toEqual(['a rank died', 'a rank died']);
    expect(() => rig.add('c', [1])).toThrow('a rank died');
    expect(rig.engine.hasWork()).toBe(false);
  });

  test('ends running requests with its error; waiting ones continue with the next', async () => {
    const second = new FakeExecutor(1);
    let loads = 0;
    const reloadExecutor = async () => {
      loads++;
      return second;
    };
    const rig = new Rig({ maxNumSeqs: 1, reloadExecutor });
    rig.add('a', prompt(6), { maxTokens: 4 });
    rig.add('b', prompt(6), { maxTokens: 4 });
    for (let i = 0; i < 3; i++) await rig.step();
    rig.executor.failure = new Error('a rank died');
    await rig.finish();
    expect(rig.ended.get('a')?.error?.message).toBe('a rank died');
    expect(rig.ended.get('b')?.error).toBeUndefined();
    expect(rig.tokens.get('b')).toEqual([fakeAnswer(prompt(6), 4)]);
    expect(loads).toBe(1);
    expect(rig.executor.isDisposed).toBe(true);
    expect(rig.engine.stats().recoveries).toBe(1);
  });

  test('and can not be loaded again ends the rest with why', async () => {
    const reloadExecutor = async () => {
      throw new Error('no memory');
    };
    const rig = new Rig({ maxNumSeqs: 1, reloadExecutor, reloadPause: 0 });
    rig.add('a', [1]);
    rig.add('b', [1]);
    rig.executor.failure = new Error('a rank died');
    await rig.finish();
    expect(rig.ended.get('a')?.error?.message).toBe('a rank died');
    expect(rig.ended.get('b')?.error?.message).toContain('no memory');
    expect(() => rig.add('c', [1])).toThrow('no memory');
  });
});
