import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PAD_SLOT_ID } from '../../../src/backends/contract/sequences.ts';
import { HostSavedSlot } from '../../../src/backends/contract/slots.ts';
import { ArgumentError, MetadataError, ShapeError } from '../../../src/errors.ts';
import { roundState, type StateStorage } from '../../../src/tensor/state-dtype.ts';
import { runs } from '../../runs.ts';
import { expectSame, indices, type MakeBackend, useBackend } from './harness.ts';
import { Inputs } from './inputs.ts';
import { operationArgs, randomInputs } from './state-space-problem.ts';

const FORMS: readonly StateStorage[] = [
  { dtype: 'float32', rounding: 'nearest' },
  { dtype: 'float16', rounding: 'nearest' },
  { dtype: 'float16', rounding: 'stochastic' },
  { dtype: 'bfloat16', rounding: 'nearest' },
  { dtype: 'bfloat16', rounding: 'stochastic' },
];
const SLOTS = 3;
const KEY = 77;

const layers = fc.record({
  groups: fc.integer({ min: 1, max: 2 }),
  headsPerGroup: fc.integer({ min: 1, max: 2 }),
  headDim: fc.constantFrom(3, 8, 16, 36, 64),
  stateSize: fc.constantFrom(64, 64, 64, 128, 256),
  most: fc.integer({ min: 1, max: 4 }),
  seed: fc.nat(),
});

/** Tests that states that lack some tokens, which are computed again, give the bits of states that are written in each step. */
export function describeReplay(makeBackend: MakeBackend): void {
  describe.each(FORMS)('replay, states in $dtype, rounded to $rounding', (form) => {
    const backend = useBackend(makeBackend);

    test('outputs and states have the bits of states that are written in each step', async (context) => {
      const own = backend();
      const { replay } = own;
      if (!replay) return context.skip();
      const property = fc.asyncProperty(
        layers,
        async ({ groups: G, headsPerGroup, headDim: P, stateSize: N, most, seed }) => {
          const H = G * headsPerGroup;
          const sizes = { heads: H, headDim: P, stateSize: N, groups: G };
          if (replay.stepsOf({ ...form, shape: [H, P, N] }) === undefined) return;
          const random = new Inputs(seed);
          const weights = { ...randomInputs(random, sizes, 1), D: random.normal(H), dtBias: random.normal(H) };
          const initial = Array.from({ length: SLOTS }, () =>
            random.normal(H * P * N).map((v) => (form.dtype === 'float32' ? v : roundState(v, form.dtype))),
          );
          const [state, plain] = [0, 1].map(() => {
            const made = own.zeros([SLOTS, H, P, N], form.dtype);
            for (const [slot, values] of initial.entries()) own.loadSlot(made, slot, new HostSavedSlot(values.slice()));
            return made;
          });
          const inputs = own.zeros([SLOTS * most, H * P + G * N + H]);
          const lacked = new Array<number>(SLOTS).fill(0);
          const positions = [5, 70, 300];
          const rounding = (at: readonly number[]) =>
            form.rounding === 'stochastic' ? { key: KEY, firstRow: 3, positions: indices(own, at) } : undefined;
          for (let step = 0; step < 2 * most + 3; step++) {
            const slots = [2, 0, PAD_SLOT_ID, 1].slice(random.integer(0, 2));
            const args = {
              ...operationArgs(own, { ...weights, ...randomInputs(random, sizes, slots.length), A: weights.A }),
            };
            const common = {
              ...args,
              stateBatchIndices: indices(own, slots),
              rounding: rounding(slots.map((slot) => positions[slot] ?? 0)),
            };
            const expected = await own.read(own.selectiveStateUpdate({ ...common, state: plain }));
            const counts = indices(
              own,
              slots.map((slot) => lacked[slot] ?? -1),
            );
            const y = await own.read(own.selectiveStateUpdate({ ...common, state, replay: { inputs, counts } }));
            for (const [b, slot] of slots.entries()) {
              if (slot === PAD_SLOT_ID) continue;
              expectSame(
                y.slice(b * H * P, (b + 1) * H * P),
                expected.slice(b * H * P, (b + 1) * H * P),
                `y, step ${step}`,
              );
              lacked[slot] = lacked[slot] === most ? 0 : lacked[slot] + 1;
              positions[slot]++;
            }
            if (random.integer(0, 3) > 0) continue;
            const { A, dtBias, dtSoftplus } = args;
            const taken = [random.integer(0, SLOTS - 1), PAD_SLOT_ID];
            replay.takeReplayed({
              ...{ A, dtBias, dtSoftplus, state },
              stateBatchIndices: indices(own, taken),
              replay: {
                inputs,
                counts: indices(
                  own,
                  taken.map((slot) => lacked[slot] ?? 0),
                ),
              },
              rounding: rounding(taken.map((slot) => (positions[slot] ?? 0) - (lacked[slot] ?? 0))),
            });
            lacked[taken[0]] = 0;
            const [found, known] = [own.saveSlot(state, taken[0]), own.saveSlot(plain, taken[0])];
            expectSame(await found.read(), await known.read(), `state of slot ${taken[0]}`);
          }
        },
      );
      await fc.assert(property, { seed: 20261130, numRuns: runs(6) });
    });
  });

  describe('replay', () => {
    const backend = useBackend(makeBackend);

    test('refuses what does not fit', (context) => {
      const own = backend();
      if (!own.replay) return context.skip();
      const sizes = { heads: 2, headDim: 4, stateSize: 64, groups: 1 };
      const args = operationArgs(own, randomInputs(new Inputs(1), sizes, 2));
      const state = own.zeros([2, 2, 4, 64]);
      const update = (shape: readonly number[], counts: readonly number[], change = {}) =>
        own.selectiveStateUpdate({
          ...{ ...args, ...change, state },
          replay: { inputs: own.zeros(shape), counts: indices(own, counts) },
        });
      expect(() => update([6, 8 + 64 + 2], [3, 0])).not.toThrow();
      expect(() => update([6, 8 + 64 + 2], [4, 0])).toThrow(MetadataError);
      expect(() => update([6, 8 + 64 + 2], [-1, 0])).toThrow(MetadataError);
      expect(() => update([6, 8 + 64 + 3], [0, 0])).toThrow(ShapeError);
      expect(() => update([5, 8 + 64 + 2], [0, 0])).toThrow(ShapeError);
      expect(() => update([6, 8 + 64 + 2], [0])).toThrow(ShapeError);
      expect(() => update([64, 8 + 64 + 2], [0, 0])).toThrow(ArgumentError);
      expect(() => update([6, 8 + 64 + 2], [0, 0], { dt: own.zeros([2, 2, 4]) })).toThrow(ArgumentError);
    });
  });
}
