import fc from 'fast-check';
import { describe, test } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import { PAD_SLOT_ID } from '../../../src/backends/contract/sequences.ts';
import { runs } from '../../runs.ts';
import { type Demands, expectAgreement, expectSame, indices, type MakeBackend, useBackend } from './harness.ts';
import { Inputs } from './inputs.ts';
import { batchTensors, type Sequence, spans, totalLength } from './sequences.ts';
import {
  concatInputs,
  joined,
  operationArgs,
  randomInputs,
  type StateSpaceInputs,
  scan,
  sliceInputs,
} from './state-space-problem.ts';

/** A small layer: its convolution, its state space, and one token stream for each. */
interface Layer {
  readonly channels: number;
  readonly taps: number;
  readonly weight: Float32Array;
  readonly bias: Float32Array;
  readonly heads: number;
  readonly headDim: number;
  readonly stateSize: number;
  readonly groups: number;
}

const layers = fc
  .record({
    channels: fc.integer({ min: 1, max: 6 }),
    taps: fc.integer({ min: 1, max: 5 }),
    groups: fc.integer({ min: 1, max: 2 }),
    headsPerGroup: fc.integer({ min: 1, max: 2 }),
    headDim: fc.integer({ min: 1, max: 4 }),
    stateSize: fc.integer({ min: 1, max: 5 }),
    seed: fc.nat(),
  })
  .map(({ headsPerGroup, ...size }) => {
    const inputs = new Inputs(size.seed);
    const weight = inputs.normal(size.channels * size.taps);
    return { ...size, weight, bias: inputs.normal(size.channels), heads: size.groups * headsPerGroup };
  });
const chunkSizes = fc.constantFrom(1, 2, 3, 4, 8, 16, 64);

/** Tests that how tokens come to the operations does not change what they give. */
export function describeSplitProperties(makeBackend: MakeBackend, demands: Demands): void {
  describe('splitting and packing', () => {
    const backend = useBackend(makeBackend);
    const { convolution, stateSpace } = demands.tolerances;
    const settings = { seed: 20240531, numRuns: runs(30) };

    test('a prefill split at any point gives the unsplit one, also with its rest token by token', async () => {
      const property = fc.asyncProperty(
        layers,
        fc.integer({ min: 1, max: 20 }),
        chunkSizes,
        async (layer, T, chunkSize) => {
          const { heads: H, headDim: P, stateSize: N, channels: C } = layer;
          const inputs = new Inputs(layer.seed + 1);
          const x = inputs.normal(T * C);
          const problem = fullInputs(inputs, layer, T);
          const one = (length: number, hasInitialState: boolean) => [{ length, slot: 0, hasInitialState }];
          const wholeConv = await convolve(backend(), layer, x, one(T, false), new Float32Array(C * (layer.taps - 1)));
          const wholeScan = await scan(backend(), problem, one(T, false), new Float32Array(H * P * N), chunkSize);
          for (let split = 0; split <= T; split++) {
            const [left, right] = [one(split, false), one(T - split, split > 0)];
            let states = new Float32Array(C * (layer.taps - 1));
            const a = await convolve(backend(), layer, x.slice(0, split * C), left, states);
            const b = await convolve(backend(), layer, x.slice(split * C), right, a.states);
            expectAgreement(joined([a.y, b.y]), wholeConv.y, demands, convolution, `convolution split at ${split}`);
            expectAgreement(b.states, wholeConv.states, demands, convolution, `conv state split at ${split}`);

            states = new Float32Array(H * P * N);
            const c = await scan(backend(), sliceInputs(problem, 0, split), left, states, chunkSize);
            const d = await scan(backend(), sliceInputs(problem, split, T), right, c.states, chunkSize);
            expectAgreement(joined([c.y, d.y]), wholeScan.y, demands, stateSpace, `scan split at ${split}`);
            expectAgreement(d.states, wholeScan.states, demands, stateSpace, `state split at ${split}`);

            const e = await convolveSteps(backend(), layer, x.slice(split * C), a.states);
            expectAgreement(e.y, wholeConv.y.slice(split * C), demands, convolution, `convolution steps from ${split}`);
            expectAgreement(e.states, wholeConv.states, demands, convolution, `conv state of steps from ${split}`);
            const f = await scanSteps(backend(), sliceInputs(problem, split, T), c.states);
            expectAgreement(f.y, wholeScan.y.slice(split * H * P), demands, stateSpace, `scan steps from ${split}`);
            expectAgreement(f.states, wholeScan.states, demands, stateSpace, `state of steps from ${split}`);
          }
        },
      );
      await fc.assert(property, settings);
    });

    test('tokens that leave no state give the same outputs, and the states stay', async () => {
      const sizes = fc.constantFrom(1, 3, 9, 70, 300);
      const property = fc.asyncProperty(layers, sizes, chunkSizes, fc.boolean(), async (layer, T, chunkSize, isBig) => {
        const sized = isBig ? { ...layer, headDim: 8, stateSize: 16 } : layer;
        const { channels: C, taps: K, heads: H, headDim: P, stateSize: N } = sized;
        const inputs = new Inputs(layer.seed + 1);
        const sequences = [
          { length: T, slot: 1, hasInitialState: true },
          { length: 2, slot: 2, hasInitialState: false },
          { length: 1, slot: PAD_SLOT_ID, hasInitialState: false },
        ];
        const rows = totalLength(sequences);
        const x = inputs.normal(rows * C);
        const [conv, ssm] = [inputs.normal(3 * C * (K - 1)), inputs.normal(3 * H * P * N)];
        const problem = fullInputs(inputs, sized, rows);
        const a = await convolve(backend(), sized, x, sequences, conv);
        const b = await convolve(backend(), sized, x, sequences, conv, false);
        expectSame(b.y, a.y, 'convolution');
        expectSame(b.states, conv, 'conv states');
        const c = await scan(backend(), problem, sequences, ssm, chunkSize);
        const d = await scan(backend(), problem, sequences, ssm, chunkSize, false, false);
        expectSame(d.y, c.y, 'scan');
        expectSame(d.states, ssm, 'states');
      });
      await fc.assert(property, { ...settings, numRuns: runs(12) });
    });

    test('packing, order, padding and empty sequences change nothing', async () => {
      const members = fc.array(
        fc.record({ length: fc.integer({ min: 0, max: 9 }), kind: fc.constantFrom('new', 'resumed', 'padded') }),
        { minLength: 1, maxLength: 7 },
      );
      const property = fc.asyncProperty(layers, members, chunkSizes, async (layer, kinds, chunkSize) => {
        const { channels: C, taps: K, heads: H, headDim: P, stateSize: N } = layer;
        const inputs = new Inputs(layer.seed + 1);
        const slots = inputs.distinct(kinds.length, kinds.length + 2);
        const batch = kinds.map(({ length, kind }, b) => ({
          sequence: { length, slot: kind === 'padded' ? PAD_SLOT_ID : slots[b], hasInitialState: kind === 'resumed' },
          x: inputs.normal(length * C),
        }));
        const streams = fullInputs(inputs, layer, totalLength(batch.map(({ sequence }) => sequence)));
        const problems = spans(batch.map(({ sequence }) => sequence)).map(({ begin, end }) =>
          sliceInputs(streams, begin, end),
        );
        const convStates = inputs.normal((kinds.length + 2) * C * (K - 1));
        const ssmStates = inputs.normal((kinds.length + 2) * H * P * N);

        // Alone, one after another.
        const alone: { conv: Float32Array; y: Float32Array }[] = [];
        let [conv, ssm] = [convStates, ssmStates];
        for (const [b, { sequence, x }] of batch.entries()) {
          const a = await convolve(backend(), layer, x, [sequence], conv);
          const c = await scan(backend(), problems[b], [sequence], ssm, chunkSize);
          alone.push({ conv: a.y, y: c.y });
          [conv, ssm] = [a.states, c.states];
        }

        const order = inputs.shuffled(Array.from(batch.keys()));
        const sequences = order.map((b) => batch[b].sequence);
        const packedX = joined(order.map((b) => batch[b].x));
        const a = await convolve(backend(), layer, packedX, sequences, convStates);
        const packed = concatInputs(order.map((b) => problems[b]));
        const c = await scan(backend(), packed, sequences, ssmStates, chunkSize);
        expectAgreement(a.states, conv, demands, convolution, 'conv states');
        expectAgreement(c.states, ssm, demands, stateSpace, 'states');
        for (const [i, { begin, end, slot }] of spans(sequences).entries()) {
          if (slot === PAD_SLOT_ID) continue;
          const own = alone[order[i]];
          expectAgreement(a.y.slice(begin * C, end * C), own.conv, demands, convolution, `convolution of slot ${slot}`);
          expectAgreement(c.y.slice(begin * H * P, end * H * P), own.y, demands, stateSpace, `y of slot ${slot}`);
        }
      });
      await fc.assert(property, settings);
    });

    test('the chunk size changes nothing', async () => {
      const property = fc.asyncProperty(
        layers,
        fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 5 }),
        async (layer, lengths) => {
          const { heads, headDim, stateSize } = layer;
          const inputs = new Inputs(layer.seed + 1);
          const sequences = lengths.map((length, slot) => ({ length, slot, hasInitialState: inputs.boolean() }));
          const problem = fullInputs(inputs, layer, totalLength(sequences));
          const states = inputs.normal(lengths.length * heads * headDim * stateSize);
          const reference = await scan(backend(), problem, sequences, states, 1);
          for (const chunkSize of [2, 3, 8, 17, 256]) {
            const other = await scan(backend(), problem, sequences, states, chunkSize);
            expectAgreement(other.y, reference.y, demands, stateSpace, `y by ${chunkSize}`);
            expectAgreement(other.states, reference.states, demands, stateSpace, `states by ${chunkSize}`);
          }
        },
      );
      await fc.assert(property, settings);
    });
  });
}

function fullInputs(inputs: Inputs, layer: Layer, rows: number): StateSpaceInputs {
  const base = randomInputs(inputs, layer, rows);
  return { ...base, D: inputs.normal(layer.heads), dtBias: inputs.normal(layer.heads, 2) };
}

interface Convolved {
  readonly y: Float32Array;
  readonly states: Float32Array<ArrayBuffer>;
}

async function convolve(
  backend: Backend,
  layer: Layer,
  x: Float32Array,
  sequences: readonly Sequence[],
  states: Float32Array,
  keepState?: boolean,
): Promise<Convolved> {
  const { channels: C, taps: K } = layer;
  const convStates = backend.tensor(states, [stateCount(states, sequences, C * (K - 1)), C, K - 1]);
  const y = backend.causalConv1dFn({
    x: backend.tensor(x, [x.length / C, C]),
    weight: backend.tensor(layer.weight, [C, K]),
    bias: backend.tensor(layer.bias, [C]),
    activation: 'silu',
    convStates,
    keepState,
    ...batchTensors(backend, sequences),
  });
  return { y: await backend.read(y), states: Float32Array.from(await backend.read(convStates)) };
}

/** Slots of a state array; with one tap there is no past, and any number of slots is empty. */
function stateCount(states: Float32Array, sequences: readonly Sequence[], slotSize: number): number {
  return slotSize > 0 ? states.length / slotSize : Math.max(0, ...sequences.map(({ slot }) => slot)) + 1;
}

/** The tokens of slot 0 one at a time, as decode takes them. */
async function convolveSteps(
  backend: Backend,
  layer: Layer,
  x: Float32Array,
  states: Float32Array,
): Promise<Convolved> {
  const { channels: C, taps: K } = layer;
  const convState = backend.tensor(states, [1, C, K - 1]);
  const rows: Float32Array[] = [];
  for (let begin = 0; begin < x.length; begin += C) {
    const y = backend.causalConv1dUpdate({
      x: backend.tensor(x.slice(begin, begin + C), [1, C]),
      convState,
      weight: backend.tensor(layer.weight, [C, K]),
      bias: backend.tensor(layer.bias, [C]),
      activation: 'silu',
      convStateIndices: indices(backend, [0]),
    });
    rows.push(await backend.read(y));
  }
  return { y: joined(rows), states: Float32Array.from(await backend.read(convState)) };
}

async function scanSteps(backend: Backend, inputs: StateSpaceInputs, states: Float32Array): Promise<Convolved> {
  const state = backend.tensor(states, [1, inputs.heads, inputs.headDim, inputs.stateSize]);
  const rows: Float32Array[] = [];
  for (let t = 0; t < inputs.rows; t++) {
    const y = backend.selectiveStateUpdate({ ...operationArgs(backend, sliceInputs(inputs, t, t + 1)), state });
    rows.push(await backend.read(y));
  }
  return { y: joined(rows), states: Float32Array.from(await backend.read(state)) };
}
