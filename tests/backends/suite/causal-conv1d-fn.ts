import { describe, expect, test } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import type { Activation } from '../../../src/backends/contract/convolution.ts';
import { PAD_SLOT_ID } from '../../../src/backends/contract/sequences.ts';
import { grid } from '../../runs.ts';
import { convolveSequence } from '../oracle/convolution.ts';
import {
  type Demands,
  expectClose,
  expectSame,
  indices,
  type MakeBackend,
  stridedView,
  useBackend,
} from './harness.ts';
import { Inputs } from './inputs.ts';
import { batchTensors, type Sequence, STALE, spans, totalLength } from './sequences.ts';

interface ConvCase {
  readonly seed: number;
  readonly channels: number;
  readonly taps: number;
  readonly sequences: readonly Sequence[];
  readonly slots: number;
  /** W; default: K - 1. */
  readonly stateWidth?: number;
  readonly activation?: Activation;
  readonly bias?: boolean;
  readonly strided?: boolean;
}

/** Tests {@link StateSpaceOps.causalConv1dFn}. Cases: vLLM `tests/kernels/mamba/test_causal_conv1d.py` and more. */
export function describeCausalConv1dFn(makeBackend: MakeBackend, demands: Demands): void {
  describe('causalConv1dFn', () => {
    const backend = useBackend(makeBackend);
    const check = (convCase: ConvCase) => checkPrefill(backend(), convCase, demands);

    const lengths = [1, 8, 16, 32, 64, 128, 256, 512, 784, 1024, 1025, 2048, 4096];
    test.each(grid(lengths.flatMap((length) => [false, true].map((initial) => ({ length, initial })))))(
      'one sequence of $length tokens, initial state: $initial',
      ({ length, initial }) =>
        check({
          seed: length,
          channels: 64,
          taps: 4,
          sequences: [{ length, slot: 0, hasInitialState: initial }],
          slots: 1,
          activation: 'silu',
          bias: true,
        }),
    );

    const activations: readonly Activation[] = ['silu', 'swish', 'identity'];
    const variants = [1, 2, 3, 4, 5].flatMap((taps) =>
      activations.flatMap((activation) => [false, true].map((bias) => ({ taps, activation, bias }))),
    );
    test.each(grid(variants))('$taps taps, $activation, bias: $bias', ({ taps, activation, bias }) =>
      check({
        seed: taps,
        channels: 37,
        taps,
        sequences: [
          { length: 19, slot: 2, hasInitialState: true },
          { length: 7, slot: 0, hasInitialState: false },
        ],
        slots: 4,
        activation,
        bias,
      }),
    );

    const packed = [
      ...lengths.filter((length) => length >= 8).map((length) => ({ length, channels: 64 })),
      { length: 249, channels: 64 },
      { length: 2049, channels: 64 },
      { length: 8, channels: 4096 },
      { length: 249, channels: 4096 },
    ].flatMap((size) => [0, 3].map((padding) => ({ ...size, padding })));
    test.each(grid(packed))(
      '$length tokens of $channels channels in 4 sequences and $padding padded ones, from a strided view',
      ({ length, channels, padding }) => {
        const inputs = new Inputs(length + padding);
        const sequences = randomSequences(inputs, length, length < 10 ? 1 : 4, padding, 200);
        return check({
          seed: 7,
          channels,
          taps: 4,
          sequences,
          slots: 200,
          activation: 'silu',
          bias: true,
          strided: true,
        });
      },
    );

    test.each([1, 2, 3, 4, 5])('sequences shorter than the past keep its end (%i taps)', (taps) =>
      check({
        seed: 31,
        channels: 6,
        taps,
        sequences: [1, 2, 3, 1, 2, 3].map((length, b) => ({ length, slot: 5 - b, hasInitialState: b < 3 })),
        slots: 6,
      }),
    );

    test.each([4, 5, 8, 40])('state of %i past inputs for 4 taps', (stateWidth) =>
      check({
        seed: stateWidth,
        channels: 9,
        taps: 4,
        stateWidth,
        sequences: [
          { length: 2, slot: 1, hasInitialState: true },
          { length: 13, slot: 3, hasInitialState: true },
          { length: 6, slot: 2, hasInitialState: false },
        ],
        slots: 5,
        activation: 'silu',
      }),
    );

    test('empty sequences change nothing, also at the ends and next to padding', () =>
      check({
        seed: 5,
        channels: 5,
        taps: 4,
        sequences: [
          { length: 0, slot: 0, hasInitialState: false },
          { length: 4, slot: 3, hasInitialState: true },
          { length: 0, slot: PAD_SLOT_ID, hasInitialState: true },
          { length: 0, slot: 1, hasInitialState: true },
          { length: 2, slot: PAD_SLOT_ID, hasInitialState: false },
          { length: 0, slot: 2, hasInitialState: false },
        ],
        slots: 5,
      }));

    test('no tokens at all', async () => {
      const state = new Inputs(1).normal(2 * 3 * 3);
      const convStates = backend().tensor(state, [2, 3, 3]);
      const x = backend().zeros([0, 3]);
      const weight = backend().zeros([3, 4]);
      for (const starts of [[0], [0, 0, 0]]) {
        const out = backend().causalConv1dFn({ x, weight, convStates, queryStartLoc: indices(backend(), starts) });
        expect(out.shape).toEqual([0, 3]);
      }
      expectSame(await backend().read(convStates), state, 'state');
    });

    test('without slots and flags, sequence b overwrites slot b and starts from zeros', async () => {
      const inputs = new Inputs(3);
      const [x, weight] = [inputs.normal(5 * 2), inputs.normal(2 * 3)];
      const convStates = backend().tensor(new Float32Array(3 * 2 * 2).fill(STALE), [3, 2, 2]);
      const out = backend().causalConv1dFn({
        x: backend().tensor(x, [5, 2]),
        weight: backend().tensor(weight, [2, 3]),
        convStates,
        queryStartLoc: indices(backend(), [0, 4, 5]),
      });
      const problem = { channels: 2, taps: 3, weight, silu: false, past: new Float32Array(4) };
      const [first, second] = [x.slice(0, 8), x.slice(8)].map((part) => convolveSequence({ ...problem, x: part }));
      expectClose(await backend().read(out), [...first.out, ...second.out], demands.tolerances.convolution, 'out');
      const states = [...first.past, ...second.past, ...new Float32Array(4).fill(STALE)];
      expectSame(await backend().read(convStates), Float32Array.from(states), 'states');
    });

    test('a stale state of NaN does not reach a new sequence', async () => {
      const x = new Inputs(4).normal(6);
      const convStates = backend().tensor(new Float32Array(3).fill(Number.NaN), [1, 1, 3]);
      const weight = new Float32Array([1, 1, 1, 1]);
      const out = backend().causalConv1dFn({
        x: backend().tensor(x, [6, 1]),
        weight: backend().tensor(weight, [1, 4]),
        convStates,
        queryStartLoc: indices(backend(), [0, 6]),
      });
      const expected = convolveSequence({ channels: 1, taps: 4, x, weight, silu: false, past: new Float32Array(3) });
      expectClose(await backend().read(out), expected.out, demands.tolerances.convolution, 'out');
    });

    test('writes to `out`, which may be a view, and to nothing else', async () => {
      const inputs = new Inputs(8);
      const [x, weight] = [inputs.normal(4 * 2), inputs.normal(2 * 2)];
      const wide = backend().tensor(new Float32Array(4 * 5).fill(9), [4, 5]);
      const out = backend().splitColumns(wide, [2, 2, 1])[1];
      const result = backend().causalConv1dFn({
        x: backend().tensor(x, [4, 2]),
        weight: backend().tensor(weight, [2, 2]),
        convStates: backend().zeros([1, 2, 1]),
        queryStartLoc: indices(backend(), [0, 4]),
        out,
      });
      expect(result).toBe(out);
      const expected = convolveSequence({
        channels: 2,
        taps: 2,
        x,
        weight,
        silu: false,
        past: new Float32Array(2),
      }).out;
      const whole = new Float64Array(4 * 5).fill(9);
      for (let t = 0; t < 4; t++) whole.set(expected.subarray(t * 2, t * 2 + 2), t * 5 + 2);
      expectClose(await backend().read(wide), whole, demands.tolerances.convolution, 'out and what surrounds it');
    });
  });
}

/** `total` tokens cut at random, into `count` sequences and as many padded ones of a few tokens as asked for. */
function randomSequences(inputs: Inputs, total: number, count: number, padding: number, slots: number): Sequence[] {
  const cuts = [...inputs.distinct(count - 1, total - 1).map((cut) => cut + 1), 0, total].sort((a, b) => a - b);
  const used = inputs.distinct(count, slots);
  const sequences = used.map((slot, b) => ({ slot, length: cuts[b + 1] - cuts[b], hasInitialState: inputs.boolean() }));
  for (let i = 0; i < padding; i++)
    sequences.push({ slot: PAD_SLOT_ID, length: i + 1, hasInitialState: inputs.boolean() });
  return sequences;
}

async function checkPrefill(backend: Backend, convCase: ConvCase, demands: Demands): Promise<void> {
  const { seed, channels: C, taps: K, sequences, slots, stateWidth: W = K - 1, activation } = convCase;
  const inputs = new Inputs(seed);
  const T = totalLength(sequences);
  const x = inputs.normal(T * C);
  const weight = inputs.normal(C * K);
  const bias = convCase.bias ? inputs.normal(C) : undefined;
  const states = inputs.normal(slots * C * W);
  const slotOf = (slot: number) => states.subarray(slot * C * W, (slot + 1) * C * W);
  for (const { slot, hasInitialState } of sequences) {
    if (slot !== PAD_SLOT_ID && !hasInitialState) slotOf(slot).fill(STALE);
  }
  const convStates = backend.tensor(states, [slots, C, W]);

  const out = backend.causalConv1dFn({
    x: convCase.strided ? stridedView(backend, x, T, C) : backend.tensor(x, [T, C]),
    weight: backend.tensor(weight, [C, K]),
    bias: bias && backend.tensor(bias, [C]),
    activation,
    convStates,
    ...batchTensors(backend, sequences),
  });

  const actual = await backend.read(out);
  for (const { begin, end, slot, hasInitialState } of spans(sequences)) {
    if (begin === end) continue;
    const [rows, from] = [actual.subarray(begin * C, end * C), x.slice(begin * C, end * C)];
    if (slot === PAD_SLOT_ID) {
      expectSame(rows, from, 'padded rows');
      continue;
    }
    const past = hasInitialState ? slotOf(slot) : new Float32Array(C * W);
    const silu = activation === 'silu' || activation === 'swish';
    const expected = convolveSequence({ channels: C, taps: K, x: from, weight, bias, silu, past });
    expectClose(rows, expected.out, demands.tolerances.convolution, `out of slot ${slot}`);
    slotOf(slot).set(expected.past);
  }
  expectSame(await backend.read(convStates), states, 'states');
}
