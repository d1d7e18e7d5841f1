import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { EngineContext } from '../../../src/engine/load/engine-options.ts';
import type { Snapshot } from '../../../src/engine/state/snapshot.ts';
import { runs } from '../../runs.ts';
import { prompt, Rig } from '../engine-rig.ts';
import { FAKE_VOCAB, type FakeBlocks, fakeAnswer } from '../fake-executor.ts';

const MOST_TOKENS = 42;

const anyRequest = fc.record({
  arrival: fc.integer({ min: 0, max: 12 }),
  // Few prompts of many lengths: they share beginnings.
  seed: fc.integer({ min: 0, max: 2 }),
  length: fc.integer({ min: 1, max: 30 }),
  maxTokens: fc.integer({ min: 1, max: 12 }),
  n: fc.integer({ min: 1, max: 3 }),
  // Often none that ever comes.
  stopTokenId: fc.integer({ min: 0, max: 40 }),
  logprobs: fc.option(fc.constant(1), { nil: undefined, freq: 3 }),
  priority: fc.integer({ min: 0, max: 2 }),
  abortAt: fc.option(fc.integer({ min: 0, max: 25 }), { nil: undefined, freq: 3 }),
  pause: fc.option(fc.tuple(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 1, max: 10 })), {
    nil: undefined,
    freq: 3,
  }),
  // As a session does: holds on to its last state for a while.
  heldUntil: fc.option(fc.integer({ min: 0, max: 40 }), { nil: undefined, freq: 3 }),
});

const anyLimits = fc.record({
  maxNumSeqs: fc.integer({ min: 1, max: 4 }),
  maxNumBatchedTokens: fc.integer({ min: 1, max: 20 }),
  snapshotInterval: fc.integer({ min: 1, max: 9 }),
  prefixCacheBytes: fc.constantFrom(0, 150, 600, 5000),
  enablePrefixCaching: fc.boolean(),
});

/** Guesses of so many tokens, or none. */
const anyGuesses = fc.option(fc.integer({ min: 1, max: 6 }), { nil: undefined });

/** Guesses what the model will say, but for each eleventh token. */
function guessing(numSpeculativeTokens: number, isHybrid: boolean): Partial<EngineContext> {
  const draft = (tokenIds: readonly number[], count: number) =>
    fakeAnswer(tokenIds, count, isHybrid).map((id, i) =>
      (tokenIds.length + i) % 11 === 0 ? (id + 1) % FAKE_VOCAB : id,
    );
  return {
    speculativeConfig: { method: 'ngram', numSpeculativeTokens },
    draftSource: { open: () => ({ isFree: false, draft }), prepare: async () => {}, dispose: async () => {} },
  };
}

/** As few as one sequence needs, up to as many as several do. */
const anyBlocks: fc.Arbitrary<FakeBlocks> = fc
  .record({ blockSize: fc.integer({ min: 1, max: 9 }), more: fc.integer({ min: 0, max: 20 }) })
  .map(({ blockSize, more }) => ({ blockSize, numBlocks: 1 + Math.ceil(MOST_TOKENS / blockSize) + more }));

describe.each([
  { model: 'a model without attention', blocksToUse: fc.constant(undefined), samplesTokens: false },
  { model: 'a hybrid', blocksToUse: anyBlocks, samplesTokens: false },
  { model: 'one that samples by itself', blocksToUse: fc.constant(undefined), samplesTokens: true },
  { model: 'a hybrid that does', blocksToUse: anyBlocks, samplesTokens: true },
  { model: 'one of two stages', blocksToUse: fc.constant(undefined), samplesTokens: false, stages: 2 },
  { model: 'a hybrid of three stages', blocksToUse: anyBlocks, samplesTokens: false, stages: 3 },
])('any traffic to $model', ({ blocksToUse, samplesTokens, stages }) => {
  test('ends every request with the tokens that it gets alone, leaks nothing, starves no request', async () => {
    let emptyCaches = 0;
    const anyTraffic = [fc.array(anyRequest, { maxLength: 14 }), anyLimits, blocksToUse, anyGuesses] as const;
    const property = fc.asyncProperty(...anyTraffic, async (requests, limits, blocks, guesses) => {
      const speculation = guesses === undefined ? {} : guessing(guesses, blocks !== undefined);
      const rig = new Rig({ ...limits, ...speculation }, blocks, samplesTokens, stages);
      const { engine } = rig;
      const aborted = new Set<string>();
      const held = new Map<number, Snapshot>();
      for (let time = 0; time <= 40 || engine.hasUnfinishedRequests() || held.size > 0; time++) {
        if (time > 5000) throw new Error('A request starves.');
        for (const [i, request] of requests.entries()) {
          const { arrival, seed, length, maxTokens, n, priority, pause, heldUntil, stopTokenId, logprobs } = request;
          const id = `${i}`;
          const onFinalState = heldUntil === undefined ? undefined : (state: Snapshot) => void held.set(i, state);
          const options = { maxTokens, n, priority, ignoreEos: true, stopTokenIds: [stopTokenId], logprobs };
          if (arrival === time) rig.add(id, prompt(length, seed), options, { onFinalState });
          if (pause && pause[0] === time) engine.setPaused(id, true);
          if (pause && pause[0] + pause[1] === time) engine.setPaused(id, false);
          const state = held.get(i);
          if (state && (heldUntil ?? 0) <= time) {
            if (engine.savedStates.has(state)) await engine.savedStates.read(state);
            engine.savedStates.release(state);
            held.delete(i);
          }
        }
        // Some while a step runs, some between two.
        const abort = (parity: number) => {
          for (const [i, { abortAt }] of requests.entries()) {
            if (abortAt === time && i % 2 === parity && engine.abortRequest(`${i}`)) aborted.add(`${i}`);
          }
        };
        abort(0);
        engine.checkIntegrity();
        const step = rig.step();
        abort(1);
        await step;
      }
      for (const [i, { seed, length, maxTokens, n, stopTokenId }] of requests.entries()) {
        const endless = fakeAnswer(prompt(length, seed), maxTokens, blocks !== undefined);
        const end = endless.indexOf(stopTokenId);
        const whole = end < 0 ? endless : endless.slice(0, end + 1);
        const found = rig.tokens.get(`${i}`) ?? [];
        if (aborted.has(`${i}`)) {
          for (const answer of found) expect(answer).toEqual(whole.slice(0, answer.length));
        } else {
          expect(found).toEqual(Array.from({ length: n }, () => whole));
          expect(rig.ended.get(`${i}`)?.error).toBeUndefined();
        }
      }
      const { freeSlots, slots, waitingRequests, runningRequests, prefixCache } = engine.stats();
      expect({ freeSlots, waitingRequests, runningRequests }).toEqual({
        freeSlots: slots,
        waitingRequests: 0,
        runningRequests: 0,
      });
      const { freeBlocks, blocks: allBlocks } = engine.stats();
      expect(freeBlocks).toBeLessThanOrEqual(allBlocks);
      if (prefixCache.entries === 0) {
        expect(freeBlocks).toBe(allBlocks);
        emptyCaches++;
      }
      // What the cache dropped, the executor drops with the next step.
      rig.add('last', [1], { maxTokens: 1 });
      await rig.finish();
      const state = new Float32Array(blocks ? 2 : 1);
      const written = await engine.savedStates.write([9], state, undefined);
      if (written) await engine.savedStates.read(written);
      expect(rig.executor.snapshots).toBe(engine.stats().prefixCache.entries);
      expect(prefixCache.bytes).toBeLessThanOrEqual(prefixCache.maxBytes);
    });
    await fc.assert(property, { numRuns: runs(400), seed: 4 });
    expect(emptyCaches).toBeGreaterThan(0);
  }, 120_000);
});
