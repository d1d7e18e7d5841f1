import fc from 'fast-check';
import { expect, test } from 'vitest';
import { runs } from '../../runs.ts';
import { Rig } from '../engine-rig.ts';
import { FAKE_VOCAB, fakeAnswer } from '../fake-executor.ts';
import { MemoryStore } from './memory-store.ts';

/** How the store behaves at one call. */
const whims = fc.constantFrom('answers', 'is slow', 'fails', 'damages', 'loses');

const requests = fc.record({
  machine: fc.nat(1),
  seed: fc.nat(2),
  length: fc.integer({ min: 1, max: 700 }),
  maxTokens: fc.integer({ min: 1, max: 6 }),
  n: fc.integer({ min: 1, max: 2 }),
  salt: fc.constantFrom(undefined, 'a', 'b'),
  priority: fc.nat(1),
  leaves: fc.boolean(),
  /** Turns of the event loop before it comes. */
  after: fc.nat(6),
});

test.each([
  { kind: 'states', blocks: undefined },
  { kind: 'attention', blocks: { numBlocks: 60, blockSize: 32 } },
])('machines with $kind and a store of whims answer as one alone, whoever comes and goes', async ({ blocks }) => {
  const property = fc.asyncProperty(
    fc.array(requests, { minLength: 2, maxLength: 14 }),
    fc.array(whims, { minLength: 1, maxLength: 20 }),
    async (traffic, behaviour) => {
      const store = new MemoryStore();
      let calls = 0;
      store.before = async () => {
        const whim = behaviour[calls++ % behaviour.length];
        const [key] = [...store.values.keys()].slice(calls % 5);
        if (whim === 'is slow') await new Promise((resolve) => setTimeout(resolve, 3));
        if (whim === 'fails') throw new Error('It fails.');
        if (key !== undefined && whim === 'loses') store.values.delete(key);
        if (key !== undefined && whim === 'damages') {
          const value = store.values.get(key)?.slice() ?? new Uint8Array();
          value[calls % value.length] ^= 1;
          store.values.set(key, value);
        }
      };
      const sharedStates = { store, fetch: 'always', model: async () => 'model' } as const;
      const context = { maxNumBatchedTokens: 300, snapshotInterval: 100, prefixCacheBytes: 30_000, sharedStates };
      const machines = [new Rig(context, blocks), new Rig(context, blocks)];
      const expected = new Map<string, readonly [Rig, number[], number]>();
      const leaving: (() => void)[] = [];
      for (const [i, { machine, seed, length, maxTokens, n, salt, priority, leaves, after }] of traffic.entries()) {
        for (let turn = 0; turn < after; turn++) await step(machines);
        const rig = machines[machine];
        const prompt = Array.from({ length }, (_, at) => (at * at + seed * 5 + (at >> 4)) % FAKE_VOCAB);
        rig.add(`${i}`, prompt, { maxTokens, n, priority }, { cacheSalt: salt });
        if (leaves) leaving.push(() => rig.engine.abortRequest(`${i}`));
        else expected.set(`${i}`, [rig, prompt, maxTokens]);
        if (i % 3 === 2) leaving.shift()?.();
      }
      for (const leave of leaving) leave();
      while (machines.some(({ engine }) => engine.hasUnfinishedRequests())) await step(machines);
      for (const { engine } of machines) {
        await engine.flushStates();
        engine.checkIntegrity();
        expect(engine.stats().stateStore).toMatchObject({ pendingPuts: 0, pendingBytes: 0 });
      }
      for (const [id, [rig, prompt, maxTokens]] of expected) {
        expect(rig.ended.get(id)?.error).toBeUndefined();
        for (const answer of rig.tokens.get(id) ?? []) {
          expect(answer).toEqual(fakeAnswer(prompt, maxTokens, blocks !== undefined));
        }
      }
      for (const { engine } of machines) await engine.dispose();
    },
  );
  await fc.assert(property, { numRuns: runs(200) });
});

/** A step of each machine that has work, and a turn of the event loop. */
async function step(machines: readonly Rig[]): Promise<void> {
  for (const rig of machines) if (rig.engine.hasWork()) await rig.step();
  await new Promise((resolve) => setImmediate(resolve));
}
