import { describe, expect, test } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import type { Activation } from '../../../src/backends/contract/convolution.ts';
import { PAD_SLOT_ID } from '../../../src/backends/contract/sequences.ts';
import { grid } from '../../runs.ts';
import { convolveSequence } from '../oracle/convolution.ts';
import { type Demands, expectClose, expectSame, indices, type MakeBackend, useBackend } from './harness.ts';
import { Inputs } from './inputs.ts';

interface UpdateCase {
  readonly seed: number;
  readonly channels: number;
  readonly taps: number;
  /** New tokens of each row; undefined: x is (B, C). */
  readonly tokens?: number | undefined;
  /** Each row's slot; undefined: row b has slot b. */
  readonly slots?: readonly number[];
  readonly rows: number;
  readonly slotCount: number;
  readonly stateWidth?: number;
  readonly activation?: Activation;
  readonly bias?: boolean;
  /** Tokens seen by each row: makes the state a ring. */
  readonly seen?: readonly number[];
}

/** Tests {@link StateSpaceOps.causalConv1dUpdate}. Cases: vLLM and Dao-AILab `test_causal_conv1d.py`, and more. */
export function describeCausalConv1dUpdate(makeBackend: MakeBackend, demands: Demands): void {
  describe('causalConv1dUpdate', () => {
    const backend = useBackend(makeBackend);
    const check = (updateCase: UpdateCase) => checkUpdate(backend(), updateCase, demands);
    const activations: readonly Activation[] = ['silu', 'identity'];

    const plain = [2048, 2064, 4096].flatMap((channels) =>
      activations.flatMap((activation) => [false, true].map((bias) => ({ channels, activation, bias }))),
    );
    test.each(grid(plain))('$channels channels, $activation, bias: $bias', ({ channels, activation, bias }) =>
      check({ seed: 0, channels, taps: 4, rows: 2, slotCount: 2, activation, bias }),
    );

    test.each(grid([1, 2, 3, 4, 5].flatMap((taps) => [undefined, 1, 2, 3, 4, 5].map((tokens) => ({ taps, tokens })))))(
      '$taps taps, $tokens new tokens a row',
      ({ taps, tokens }) => check({ seed: 1, channels: 65, taps, tokens, rows: 3, slotCount: 3, activation: 'swish' }),
    );

    const gathers = [0, 5].flatMap((padding) =>
      [2048, 2064, 4096].flatMap((channels) =>
        [2, 3, 4].flatMap((taps) => [1, 3, 4, 5].map((tokens) => ({ padding, channels, taps, tokens }))),
      ),
    );
    test.each(grid(gathers))(
      '3 of 30 slots and $padding padded rows, $channels channels, $taps taps, $tokens new tokens',
      ({ padding, channels, taps, tokens }) => {
        const slots = [...new Inputs(tokens).distinct(3, 30), ...Array.from({ length: padding }, () => PAD_SLOT_ID)];
        const rows = slots.length;
        return check({ seed: 2, channels, taps, tokens, slots, rows, slotCount: 30, activation: 'silu', bias: true });
      },
    );

    test('padded rows between others', () =>
      check({ seed: 3, channels: 7, taps: 4, slots: [-1, 4, -1, 0, -1], rows: 5, slotCount: 6, activation: 'silu' }));

    test.each([3, 4, 5, 8, 64])('state of %i past inputs for 4 taps', (stateWidth) =>
      check({ seed: 4, channels: 10, taps: 4, tokens: 6, rows: 2, slotCount: 2, stateWidth, bias: true }),
    );

    const rings = [1, 2, 3, 4, 5].flatMap((taps) =>
      [taps - 1, taps, taps + 3].flatMap((stateWidth) =>
        [undefined, 1, 3, 11].map((tokens) => ({ taps, stateWidth, tokens })),
      ),
    );
    test.each(grid(rings))(
      'ring of $stateWidth past inputs, $taps taps, $tokens new tokens',
      ({ taps, stateWidth, tokens }) =>
        check({
          seed: 5,
          channels: 33,
          taps,
          tokens,
          stateWidth,
          slots: [6, PAD_SLOT_ID, 2, 3, 0],
          rows: 5,
          slotCount: 8,
          activation: 'silu',
          bias: true,
          seen: [0, 5, 1, 1023, 7],
        }),
    );

    test('a ring holds token n at n mod W through a whole sequence', async () => {
      const [C, K, W, T] = [3, 4, 5, 23];
      const inputs = new Inputs(6);
      const [x, weight] = [inputs.normal(T * C), inputs.normal(C * K)];
      const convState = backend().zeros([1, C, W]);
      const out: number[] = [];
      for (let t = 0; t < T; t++) {
        const y = backend().causalConv1dUpdate({
          x: backend().tensor(x.slice(t * C, (t + 1) * C), [1, C]),
          convState,
          weight: backend().tensor(weight, [C, K]),
          cacheSeqlens: indices(backend(), [t]),
        });
        out.push(...(await backend().read(y)));
      }
      const whole = convolveSequence({ channels: C, taps: K, x, weight, silu: false, past: new Float32Array(C * W) });
      expectClose(out, whole.out, demands.tolerances.convolution, 'out');
      const ring = new Float32Array(C * W);
      for (let n = T - W; n < T; n++) for (let c = 0; c < C; c++) ring[c * W + (n % W)] = x[n * C + c];
      expectSame(await backend().read(convState), ring, 'ring');
    });

    test('no rows', async () => {
      const state = new Inputs(7).normal(2 * 3 * 3);
      const convState = backend().tensor(state, [2, 3, 3]);
      const weight = backend().zeros([3, 4]);
      for (const shape of [
        [0, 3],
        [0, 2, 3],
      ]) {
        expect(backend().causalConv1dUpdate({ x: backend().zeros(shape), convState, weight }).shape).toEqual(shape);
      }
      expectSame(await backend().read(convState), state, 'state');
    });

    test('writes to `out`, which may be a view', async () => {
      const [B, L, C] = [2, 3, 2];
      const inputs = new Inputs(9);
      const [x, weight] = [inputs.normal(B * L * C), inputs.normal(C * 2)];
      const wide = backend().tensor(new Float32Array(B * (L * C + 1)).fill(4), [B, L * C + 1]);
      const out = backend().reshape(backend().splitColumns(wide, [L * C, 1])[0], [B, L, C]);
      const args = {
        x: backend().tensor(x, [B, L, C]),
        weight: backend().tensor(weight, [C, 2]),
      };
      const fresh = backend().causalConv1dUpdate({ ...args, convState: backend().zeros([B, C, 1]) });
      const result = backend().causalConv1dUpdate({ ...args, convState: backend().zeros([B, C, 1]), out });
      expect(result).toBe(out);
      expectSame(await backend().read(out), await backend().read(fresh), 'out');
      const columns = backend().splitColumns(wide, [L * C, 1]);
      expectSame(await backend().read(columns[1]), [4, 4], 'what lies beside it');
    });
  });
}

async function checkUpdate(backend: Backend, updateCase: UpdateCase, demands: Demands): Promise<void> {
  const { channels: C, taps: K, tokens, rows, slotCount, slots, seen, activation } = updateCase;
  const { stateWidth: W = K - 1 } = updateCase;
  const L = tokens ?? 1;
  const inputs = new Inputs(updateCase.seed);
  const x = inputs.normal(rows * L * C);
  const weight = inputs.normal(C * K);
  const bias = updateCase.bias ? inputs.normal(C) : undefined;
  const states = inputs.normal(slotCount * C * W);
  const convState = backend.tensor(states, [slotCount, C, W]);

  const out = backend.causalConv1dUpdate({
    x: backend.tensor(x, tokens === undefined ? [rows, C] : [rows, L, C]),
    convState,
    weight: backend.tensor(weight, [C, K]),
    bias: bias && backend.tensor(bias, [C]),
    activation,
    convStateIndices: slots && indices(backend, slots),
    cacheSeqlens: seen && indices(backend, seen),
  });

  const actual = await backend.read(out);
  for (let b = 0; b < rows; b++) {
    const slot = slots ? slots[b] : b;
    const [y, from] = [actual.subarray(b * L * C, (b + 1) * L * C), x.slice(b * L * C, (b + 1) * L * C)];
    if (slot === PAD_SLOT_ID) {
      expectSame(y, from, 'padded row');
      continue;
    }
    const state = states.subarray(slot * C * W, (slot + 1) * C * W);
    // In a ring, the oldest of the last W tokens lies where the next one goes.
    const first = seen?.[b] ?? 0;
    const past = state.map((_, i) => state[rowStart(i, W) + ((first + (i % W)) % W)]);
    const silu = activation === 'silu' || activation === 'swish';
    const expected = convolveSequence({ channels: C, taps: K, x: from, weight, bias, silu, past });
    expectClose(y, expected.out, demands.tolerances.convolution, `out of row ${b}`);
    const next = seen ? first + L : 0;
    expected.past.forEach((value, i) => {
      state[rowStart(i, W) + ((next + (i % W)) % W)] = value;
    });
  }
  expectSame(await backend.read(convState), states, 'states');
}

function rowStart(i: number, width: number): number {
  return i - (i % width);
}
