import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import { PAD_SLOT_ID } from '../../../src/backends/contract/sequences.ts';
import { HostSavedSlot } from '../../../src/backends/contract/slots.ts';
import type { SelectiveStateArgs } from '../../../src/backends/contract/state-space.ts';
import { ReferenceBackend } from '../../../src/backends/reference/reference-backend.ts';
import { roundState, type ShortStateDType, type StateRounding } from '../../../src/tensor/state-dtype.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';
import { runs } from '../../runs.ts';
import { type Demands, expectClose, expectSame, indices, type MakeBackend, useBackend } from './harness.ts';
import { Inputs } from './inputs.ts';
import { batchTensors, type Sequence, spans, totalLength } from './sequences.ts';
import {
  concatInputs,
  joined,
  operationArgs,
  randomInputs,
  type StateSpaceInputs,
  type StateSpaceSizes,
  sliceInputs,
} from './state-space-problem.ts';

/** States of 16 bits in one dtype, rounded in one way. */
interface Short {
  readonly dtype: ShortStateDType;
  readonly rounding: StateRounding;
}

const FORMS: readonly Short[] = [
  { dtype: 'float16', rounding: 'nearest' },
  { dtype: 'float16', rounding: 'stochastic' },
  { dtype: 'bfloat16', rounding: 'nearest' },
  { dtype: 'bfloat16', rounding: 'stochastic' },
];

/** Distance of neighbours, as a share of the power of two below. */
const STEP: Readonly<Record<ShortStateDType, number>> = { float16: 2 ** -10, bfloat16: 2 ** -7 };
const KEY = 12345;

const layers = fc.record({
  groups: fc.integer({ min: 1, max: 2 }),
  headsPerGroup: fc.integer({ min: 1, max: 2 }),
  headDim: fc.integer({ min: 1, max: 9 }),
  stateSize: fc.constantFrom(1, 5, 16, 20, 32, 64, 128),
  seed: fc.nat(),
});

/** Tests of states of 16 bits, which the reference defines. */
export function describeShortStates(makeBackend: MakeBackend, demands: Demands): void {
  describe.each(FORMS)('states in $dtype, rounded to $rounding', (form) => {
    const backend = useBackend(makeBackend);
    const reference = new ReferenceBackend();
    const settings = { seed: 20261130, numRuns: runs(12) };

    test('agree with the reference, prefilled and decoded, and have values of their dtype', async () => {
      const lengths = fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 1, maxLength: 4 });
      const property = fc.asyncProperty(layers, lengths, async (layer, tokens) => {
        const { sizes, inputs } = problemOf(layer);
        const sequences = tokens.map((length, slot) => ({
          length,
          slot: slot === 3 ? PAD_SLOT_ID : slot,
          hasInitialState: inputs.boolean(),
        }));
        const problem = fullInputs(inputs, sizes, totalLength(sequences));
        const initial = inputs.normal(tokens.length * slotLength(sizes)).map((v) => roundState(v, form.dtype));
        const positions = tokens.map((_, b) => 7 * b);
        const [own, known] = [backend(), reference].map((one) => statesOf(one, form, sizes, initial, tokens.length));
        const y = await scan(backend(), form, problem, sequences, own, positions);
        const expected = await scan(reference, form, problem, sequences, known, positions);
        const step = STEP[form.dtype];
        // A sum that lies close to the middle between two values is rounded to either, and the next ones follow it.
        const tolerance = { relative: 4 * step, absolute: 8 * step };
        for (const { begin, end, slot } of spans(sequences)) {
          const rows = [begin, end].map((row) => row * sizes.heads * sizes.headDim);
          if (slot !== PAD_SLOT_ID)
            expectClose(y.slice(...rows), expected.slice(...rows), wider(tolerance, sizes), 'y');
        }
        const states = await backend().read(own);
        expectClose(states, await reference.read(known), tolerance, 'states');
        expectSame(
          states.map((v) => roundState(v, form.dtype)),
          states,
          'values of the dtype',
        );

        const rows = fullInputs(inputs, sizes, tokens.length);
        const slots = tokens.map((_, b) => tokens.length - 1 - b);
        load(backend(), own, initial, sizes);
        load(reference, known, initial, sizes);
        const next = await update(backend(), form, rows, own, slots, positions);
        expectClose(
          next,
          await update(reference, form, rows, known, slots, positions),
          demands.tolerances.stateSpace,
          'y',
        );
        const [after, afterwards] = [await backend().read(own), await reference.read(known)];
        expectClose(after, afterwards, { relative: 1.01 * step, absolute: 2 ** -23 }, 'states after a step');
        const same = after.filter((value, i) => value === afterwards[i]).length;
        expect(same / after.length).toBeGreaterThan(0.9);
      });
      await fc.assert(property, settings);
    });

    test.runIf(demands.bitExact)('are the same bits alone, packed, split anywhere and token by token', async () => {
      const property = fc.asyncProperty(layers, fc.integer({ min: 1, max: 40 }), async (layer, T) => {
        const { sizes, inputs } = problemOf(layer);
        const both = fullInputs(inputs, sizes, 3 + T);
        const [other, problem] = [sliceInputs(both, 0, 3), sliceInputs(both, 3, 3 + T)];
        const zeros = new Float32Array(2 * slotLength(sizes));
        const whole = statesOf(backend(), form, sizes, zeros, 2);
        const y = await scan(backend(), form, problem, [{ length: T, slot: 0, hasInitialState: false }], whole, [5]);
        const expected = await slot(backend(), whole, 0);

        const split = inputs.integer(0, T);
        const parts = statesOf(backend(), form, sizes, zeros, 2);
        const left = [
          { length: 3, slot: 0, hasInitialState: false },
          { length: split, slot: 1, hasInitialState: false },
        ];
        const packed = concatInputs([other, sliceInputs(problem, 0, split)]);
        const first = await scan(backend(), form, packed, left, parts, [0, 5]);
        const right = [{ length: T - split, slot: 1, hasInitialState: split > 0 }];
        const second = await scan(backend(), form, sliceInputs(problem, split, T), right, parts, [5 + split]);
        const columns = sizes.heads * sizes.headDim;
        expectSame(joined([first.slice(3 * columns), second]), y, `y split at ${split}`);
        expectSame(await slot(backend(), parts, 1), expected, `state split at ${split}`);

        const steps = statesOf(backend(), form, sizes, zeros, 2);
        const rows: Float32Array[] = [];
        for (let t = 0; t < T; t++) {
          const token = concatInputs([sliceInputs(other, t % 3, (t % 3) + 1), sliceInputs(problem, t, t + 1)]);
          rows.push((await update(backend(), form, token, steps, [0, 1], [t, 5 + t])).slice(columns));
        }
        expectSame(joined(rows), y, 'y token by token');
        expectSame(await slot(backend(), steps, 1), expected, 'state token by token');
      });
      await fc.assert(property, settings);
    });

    test('are copied, saved and loaded without another rounding', async () => {
      const sizes = { heads: 2, headDim: 3, stateSize: 21, groups: 1 };
      const length = slotLength(sizes);
      const values = new Inputs(4).normal(3 * length).map((v, i) => (i % 5 === 0 ? v * 1e-6 : v));
      const rounded = values.map((v) => roundState(v, form.dtype));
      const states = statesOf(backend(), form, sizes, values, 3);
      expect(states.dtype).toBe(form.dtype);
      expectSame(await backend().read(states), rounded, 'loaded');
      const saved = backend().saveSlot(states, 1);
      backend().copySlot(states, 2, 1);
      expectSame(await slot(backend(), states, 1), rounded.slice(2 * length), 'copied');
      expectSame(await saved.read(), rounded.slice(length, 2 * length), 'saved');
      const again = backend().saveSlot(states, 0, backend().saveSlot(states, 2));
      backend().loadSlot(states, 2, saved);
      expectSame(await slot(backend(), states, 2), rounded.slice(length, 2 * length), 'loaded again');
      expectSame(await again.read(), rounded.slice(0, length), 'saved over another');
      backend().loadSlot(states, 0, new HostSavedSlot(new Float32Array(length)));
      expectSame(await slot(backend(), states, 0), new Float32Array(length), 'loaded from the host');
    });

    test('keep NaN, and saturate in float16 and there alone', async () => {
      const extremes = extremeValues();
      const sizes = { heads: 1, headDim: extremes.length, stateSize: 20, groups: 1 };
      const everywhere = new Float32Array(slotLength(sizes)).map((_, i) => extremes[Math.floor(i / sizes.stateSize)]);
      const check = async (states: Tensor, what: string, found = slot(backend(), states, 0)) => {
        const values = await found;
        for (const [i, value] of values.entries()) expectExtreme(value, everywhere[i], form.dtype, `${what}: [${i}]`);
      };
      const states = statesOf(backend(), form, sizes, joined([everywhere, new Float32Array(everywhere.length)]), 2);
      await check(states, 'loaded and saved');
      await check(
        states,
        'read',
        backend()
          .read(states)
          .then((both) => both.slice(0, everywhere.length)),
      );
      const saved = backend().saveSlot(states, 0);
      backend().copySlot(states, 0, 1);
      await check(states, 'copied', slot(backend(), states, 1));
      // A step from there: NaN stays, and infinities of bfloat16.
      await update(backend(), form, constantInputs(sizes, 1), states, [0], [3]);
      const infinite = form.dtype === 'bfloat16' ? Number.POSITIVE_INFINITY : Number.NaN;
      for (const [i, value] of (await slot(backend(), states, 0)).entries()) {
        const before = Number.isNaN(everywhere[i]) || Math.abs(everywhere[i]) === infinite ? everywhere[i] : 0;
        if (Number.isFinite(before)) expect(Number.isFinite(value), `step: [${i}]`).toBe(true);
        else expect(value, `step: [${i}]`).toBe(before);
      }
      backend().loadSlot(states, 0, saved);
      await check(states, 'loaded again');

      const x = { ...constantInputs(sizes, 0), x: extremes };
      const zeros = new Float32Array(everywhere.length);
      const stepped = statesOf(backend(), form, sizes, zeros, 1);
      await update(backend(), form, x, stepped, [0], [3]);
      await check(stepped, 'a step from zeros');
      const scanned = statesOf(backend(), form, sizes, zeros, 1);
      await scan(backend(), form, x, [{ length: 1, slot: 0, hasInitialState: false }], scanned, [3]);
      await check(scanned, 'a scan from zeros');
    });

    test.runIf(form.rounding === 'stochastic')('are rounded by their place in the layer', async () => {
      await expectSameOnRanks(backend(), form, operationArgs);
    });
  });

  describe('stochastic rounding', () => {
    const backend = useBackend(makeBackend);

    test.each(['float16', 'bfloat16'] as const)('in %s is right on average, at every magnitude', async (dtype) => {
      const sizes = { heads: 4, headDim: 16, stateSize: 64, groups: 1 };
      const form = { dtype, rounding: 'stochastic' } as const;
      // float16 has subnormal numbers, whose steps are 2^-24.
      for (const value of dtype === 'float16' ? [1.23456, -0.0123456, 3.3e-6] : [1.23456, -0.0123456]) {
        const power = Math.max(2 ** Math.floor(Math.log2(Math.abs(value))), dtype === 'float16' ? 2 ** -14 : 0);
        const step = STEP[dtype] * power;
        const seen = new Set<string>();
        for (const position of [0, 1]) {
          const states = statesOf(backend(), form, sizes, new Float32Array(slotLength(sizes)), 1);
          await update(backend(), form, constantInputs(sizes, value), states, [0], [position]);
          const found = await backend().read(states);
          const mean = found.reduce((sum, v) => sum + v, 0) / found.length;
          expect(Math.abs(mean - value) / step).toBeLessThan(0.04);
          expect(new Set(found).size).toBe(2);
          seen.add(found.join());
        }
        expect(seen.size).toBe(2);
      }
    });

    test('in float16 leaves values alone that float16 has', async () => {
      const form = { dtype: 'float16', rounding: 'stochastic' } as const;
      const subnormal = [1, 2, 3, 77, 512, 1000, 1023].map((k) => k * 2 ** -24);
      const values = Float32Array.from([...subnormal, 2 ** -14, 1.5, 0.333251953125, 65504].flatMap((v) => [v, -v]));
      const sizes = { heads: 1, headDim: values.length, stateSize: 128, groups: 1 };
      const states = statesOf(backend(), form, sizes, new Float32Array(slotLength(sizes)), 1);
      // Without slots every row has its own. At this position one of the largest subnormal values gets nearly the largest
      // bits.
      const args = operationArgs(backend(), { ...constantInputs(sizes, 0), x: values });
      const y = backend().selectiveStateUpdate({
        ...args,
        state: states,
        rounding: roundingOf(backend(), form, [1180]),
      });
      await backend().read(y);
      const expected = new Float32Array(slotLength(sizes)).map((_, i) => values[Math.floor(i / 128)]);
      expectSame(await backend().read(states), expected, 'states');
    });
  });
}

/** Tests of states of 16 bits over so many tokens, with operands as a mixer has them, that a backend may scan in chunks. */
export function describeShortStatesInChunks(makeBackend: MakeBackend): void {
  describe('states of 16 bits, of 20 tokens whose operands lie together', () => {
    const backend = useBackend(makeBackend);
    const one = [{ length: 20, slot: 0, hasInitialState: false }];

    test.each(FORMS)('in $dtype, rounded to $rounding, keep NaN, and saturate in float16 alone', async (form) => {
      const extremes = extremeValues();
      const sizes = { heads: 1, headDim: extremes.length, stateSize: 20, groups: 1 };
      const states = statesOf(backend(), form, sizes, new Float32Array(slotLength(sizes)), 1);
      // All tokens but the last add nothing.
      const nothing = Array.from({ length: 19 }, () => constantInputs(sizes, 0));
      const inputs = concatInputs([...nothing, { ...constantInputs(sizes, 0), x: extremes }]);
      await scan(backend(), form, inputs, one, states, [3], operandsTogether);
      for (const [i, value] of (await slot(backend(), states, 0)).entries()) {
        expectExtreme(value, extremes[Math.floor(i / sizes.stateSize)], form.dtype, `[${i}]`);
      }
    });

    test.each(FORMS.filter(({ rounding }) => rounding === 'stochastic'))(
      'in $dtype, rounded to $rounding, are rounded by their place in the layer',
      async (form) => {
        await expectSameOnRanks(backend(), form, operandsTogether);
      },
    );
  });
}

type Layer = { groups: number; headsPerGroup: number; headDim: number; stateSize: number; seed: number };

function problemOf({ headsPerGroup, seed, ...layer }: Layer): { sizes: StateSpaceSizes; inputs: Inputs } {
  return { sizes: { ...layer, heads: layer.groups * headsPerGroup }, inputs: new Inputs(seed) };
}

function fullInputs(inputs: Inputs, sizes: StateSpaceSizes, rows: number): StateSpaceInputs {
  return { ...randomInputs(inputs, sizes, rows), D: inputs.normal(sizes.heads), dtBias: inputs.normal(sizes.heads, 2) };
}

/** One row that leaves `value` everywhere in a state of zeros. */
function constantInputs(sizes: StateSpaceSizes, value: number): StateSpaceInputs {
  const { heads: H, headDim: P, stateSize: N } = sizes;
  const ones = (length: number) => new Float32Array(length).fill(1);
  const x = ones(H * P).map((v) => v * value);
  return { ...sizes, rows: 1, x, dt: ones(H), A: ones(H).map((v) => -v), B: ones(N), C: ones(N), dtSoftplus: false };
}

/** Values that float16 has no room for, and NaN, the last one of which a carry would make 0. */
function extremeValues(): Float32Array<ArrayBuffer> {
  const infinities = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  const values = Float32Array.from([...infinities, 1e36, -1e36, 2 ** 115, 65519, -65519, 65520, -65520, 0, 0, 0]);
  new Uint32Array(values.buffer).set([0x7fc00000, 0x7fffffff, 0xffffffff], values.length - 3);
  return values;
}

function expectExtreme(found: number, value: number, dtype: ShortStateDType, what: string): void {
  if (dtype === 'float16' && !Number.isNaN(value)) expect(found, what).toBe(Math.sign(value) * 65504);
  else if (Number.isFinite(value)) expect(Math.abs(found / value - 1), what).toBeLessThan(STEP.bfloat16);
  else expect(found, what).toBe(value);
}

/** Inputs of the last heads alone, which all read one group. */
function lastHeads(inputs: StateSpaceInputs, count: number): StateSpaceInputs {
  const { heads, headDim, rows, x, dt, A, D, dtBias } = inputs;
  const last = (values: Float32Array, width: number) => {
    const perRow = values.length / rows;
    return values.filter((_, i) => i % perRow >= perRow - count * width);
  };
  const ofHeads = (values: Float32Array | undefined) => values?.slice(heads - count);
  return {
    ...inputs,
    heads: count,
    x: last(x, headDim),
    dt: last(dt, 1),
    A: A.slice(heads - count),
    D: ofHeads(D),
    dtBias: ofHeads(dtBias),
  };
}

/** As operationArgs, with x, B and C as columns of one tensor, as a mixer has them. */
function operandsTogether(backend: Backend, inputs: StateSpaceInputs): SelectiveStateArgs {
  const { rows, x, B, C, groups } = inputs;
  const parts = [x, B, C].map((values) => ({ values, width: values.length / rows }));
  const width = parts.reduce((sum, part) => sum + part.width, 0);
  const all = joined(
    Array.from({ length: rows }, (_, t) =>
      parts.map((part) => part.values.subarray(t * part.width, (t + 1) * part.width)),
    ).flat(),
  );
  const columns = backend.splitColumns(
    backend.tensor(all, [rows, width]),
    parts.map((part) => part.width),
  );
  return { ...operationArgs(backend, inputs), x: columns[0], B: columns[1], C: columns[2], nGroups: groups };
}

/** Expects the states of the last heads to be the same with those of the others and without them, as on another rank. */
async function expectSameOnRanks(backend: Backend, form: Short, operands: typeof operandsTogether): Promise<void> {
  // As many channels and columns as above: kernels are made for them.
  const sizes = { heads: 4, headDim: extremeValues().length, stateSize: 20, groups: 1 };
  const half = { ...sizes, heads: 2 };
  const firstRow = 2 * sizes.headDim;
  const whole = fullInputs(new Inputs(8), sizes, 20);
  const upper = lastHeads(whole, 2);
  const [all, own] = [sizes, half].map((of) => statesOf(backend, form, of, new Float32Array(slotLength(of)), 1));
  const expected = async () => (await slot(backend, all, 0)).slice(slotLength(half));
  const one = [{ length: 20, slot: 0, hasInitialState: false }];
  await scan(backend, form, whole, one, all, [5], operands);
  await scan(backend, form, upper, one, own, [5], operands, firstRow);
  expectSame(await slot(backend, own, 0), await expected(), 'states of a scan');
  await update(backend, form, sliceInputs(whole, 0, 1), all, [0], [25]);
  await update(backend, form, sliceInputs(upper, 0, 1), own, [0], [25], firstRow);
  expectSame(await slot(backend, own, 0), await expected(), 'states of a step');
}

function slotLength({ heads, headDim, stateSize }: StateSpaceSizes): number {
  return heads * headDim * stateSize;
}

/** Sums of a row are larger than their summands. */
function wider({ relative, absolute }: { relative: number; absolute: number }, { stateSize }: StateSpaceSizes) {
  return { relative, absolute: absolute * Math.sqrt(stateSize) * 2 };
}

function statesOf(
  backend: Backend,
  { dtype }: Short,
  sizes: StateSpaceSizes,
  values: Float32Array,
  slots: number,
): Tensor {
  const { heads, headDim, stateSize } = sizes;
  const states = backend.zeros([slots, heads, headDim, stateSize], dtype);
  load(backend, states, values, sizes);
  return states;
}

function load(backend: Backend, states: Tensor, values: Float32Array, sizes: StateSpaceSizes): void {
  const length = slotLength(sizes);
  for (let s = 0; s < states.shape[0]; s++) {
    backend.loadSlot(states, s, new HostSavedSlot(values.slice(s * length, (s + 1) * length)));
  }
}

function slot(backend: Backend, states: Tensor, number: number): Promise<Float32Array> {
  return backend.saveSlot(states, number).read();
}

function roundingOf(backend: Backend, { rounding }: Short, positions: readonly number[], firstRow?: number) {
  return rounding === 'stochastic' ? { key: KEY, firstRow, positions: indices(backend, positions) } : undefined;
}

async function scan(
  backend: Backend,
  form: Short,
  inputs: StateSpaceInputs,
  sequences: readonly Sequence[],
  ssmStates: Tensor,
  positions: readonly number[],
  operands: (backend: Backend, inputs: StateSpaceInputs) => SelectiveStateArgs = operationArgs,
  firstRow?: number,
): Promise<Float32Array> {
  const y = backend.mambaChunkScan({
    ...operands(backend, inputs),
    ...batchTensors(backend, sequences),
    ssmStates,
    rounding: roundingOf(backend, form, positions, firstRow),
    chunkSize: 8,
  });
  return backend.read(y);
}

async function update(
  backend: Backend,
  form: Short,
  inputs: StateSpaceInputs,
  state: Tensor,
  slots: readonly number[],
  positions: readonly number[],
  firstRow?: number,
): Promise<Float32Array> {
  const stateBatchIndices = indices(backend, slots);
  const rounding = roundingOf(backend, form, positions, firstRow);
  return backend.read(
    backend.selectiveStateUpdate({ ...operationArgs(backend, inputs), state, stateBatchIndices, rounding }),
  );
}
