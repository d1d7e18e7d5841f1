import { describe, test } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';
import { SeededRandom } from '../../layers/seeded.ts';
import { expectSame, type MakeBackend, useBackend } from '../suite/harness.ts';

/** Sizes of a mixer layer: H heads of P channels with states of N, in G groups. */
const [HIDDEN, H, P, N, G, TAPS] = [72, 4, 32, 64, 2, 4] as const;
const INNER = H * P;
const CONVOLVED = INNER + 2 * G * N;
/** The results from which on later layers read them: the residual and the states. */
const LAST = -3;

/** Tests that kernels that do the work of several give the same bits as those, one after another. */
export function describeFusions(makeBackend: MakeBackend): void {
  describe('fused launches', () => {
    const backend = useBackend(makeBackend);

    test.each([
      [1, 'float16', 1],
      [1, 'float16', G],
      [3, 'bfloat16', G],
      [20, 'float16', 1],
      [70, 'float16', G],
      [70, 'bfloat16', 1],
      [1, 'int8', G],
      [20, 'int8', G],
      [3, 'float32', G],
    ] as const)('of %i rows, %s and %i groups to a norm', async (T, dtype, normGroups) => {
      const made = backend();
      const random = new SeededRandom(T);
      const values = (...shape: number[]) => {
        return made.tensor(random.floats(shape.reduce((all, size) => all * size, 1)), shape);
      };
      const projected = INNER + CONVOLVED + H;
      const weights = {
        norm: values(HIDDEN),
        inProj: made.linearWeight(random.floats(projected * HIDDEN), projected, HIDDEN, dtype),
        inBias: values(projected),
        conv: values(CONVOLVED, TAPS),
        convBias: values(CONVOLVED),
        A: values(H),
        gatedNorm: values(INNER),
        outProj: made.linearWeight(random.floats(HIDDEN * INNER), HIDDEN, INNER, dtype),
      };
      const hidden = values(T, HIDDEN);
      const mixed = values(T, HIDDEN);
      await expectSameApart(made, () => {
        const input = { hidden, mixed, conv: made.zeros([T, CONVOLVED, TAPS - 1]), ssm: made.zeros([T, H, P, N]) };
        return [...layer(made, input, weights, normGroups), input.conv, input.ssm];
      });
    });

    test('of a head whose blocks have several outputs each, one after another', async () => {
      const made = backend();
      const random = new SeededRandom(2);
      const [columns, outputs] = [128, 17_003];
      const tensor = (...shape: number[]) => {
        return made.tensor(random.floats(shape.reduce((all, size) => all * size, 1)), shape);
      };
      const head = made.linearWeight(random.floats(outputs * columns), outputs, columns, 'int8');
      const [hidden, norm, bias] = [tensor(1, columns), tensor(columns), tensor(outputs)];
      await expectSameApart(made, () => {
        const normed = made.rmsNorm(hidden, norm, 1e-5);
        const logits = made.linear(normed, head, bias);
        return [normed, logits, made.mulScalar(logits, 0.125)];
      });
    });

    test.each([
      [1, 'float16', 'silu', true],
      [1, 'bfloat16', 'gelu', true],
      [1, 'int8', 'relu2', false],
      [1, 'float32', 'silu', true],
      [3, 'int8', 'silu', true],
      [12, 'float16', 'silu', true],
    ] as const)('of a feed-forward layer and experts, %i rows, %s and %s', async (T, dtype, activation, gated) => {
      const made = backend();
      const random = new SeededRandom(T);
      const tensor = (...shape: number[]) => {
        return made.tensor(random.floats(shape.reduce((all, size) => all * size, 1)), shape);
      };
      const matrix = (outputs: number, inputs: number) => {
        return made.linearWeight(random.floats(outputs * inputs), outputs, inputs, dtype);
      };
      const [hidden, norm] = [tensor(T, HIDDEN), tensor(HIDDEN)];
      const [inputs, routing] = [(gated ? 2 : 1) * INNER, tensor(T, 3)];
      const [up, down, out] = [matrix(inputs, HIDDEN), matrix(HIDDEN, INNER), matrix(HIDDEN, HIDDEN)];
      const experts = [0, 1, 2].map(() => ({ up: matrix(inputs, HIDDEN), down: matrix(HIDDEN, INNER) }));
      await expectSameApart(made, () => {
        const mixed = made.linear(hidden, out);
        const scaled = made.mulScalar(mixed, 0.22);
        const residual = made.add(hidden, scaled);
        const normed = made.rmsNorm(residual, norm, 1e-5);
        const projected = made.linear(normed, up);
        const [gate, x] = made.splitColumns(projected, gated ? [INNER, INNER] : [INNER]);
        const activated = gated ? made.activateAndMul(gate, x, activation) : made.activate(gate, activation);
        const shared = made.linear(activated, down);
        const routed = made.fusedMoe(normed, routing, experts, activation, gated);
        const both = made.add(routed, shared);
        const change = made.mulScalar(both, 0.22);
        const all = [mixed, scaled, residual, normed, projected, activated, shared, routed, both, change];
        return [...all, made.add(residual, change)];
      });
    });

    test.each([
      [5120, 1],
      [8192, 8],
    ])('of prompts with a gated norm of %i columns in %i groups', async (C, groups) => {
      const [T, outputs] = [66, 8];
      const made = backend();
      const random = new SeededRandom(C);
      const [x, z, addend] = [C, C, outputs].map((columns) => made.tensor(random.floats(T * columns), [T, columns]));
      const weight = made.tensor(random.floats(C), [C]);
      const matrix = made.linearWeight(random.floats(outputs * C), outputs, C, 'float16');
      const layout = { firstColumn: 0, groupSize: C / groups };
      const run = () => {
        const gated = made.siluGate(x, z);
        const normed = made.scaleByGroupNorm(gated, made.groupSquareSums(gated, groups, layout), weight, 1e-5, layout);
        return { read: made.read(made.add(addend, made.linear(normed, matrix))) };
      };
      const fused = await made.scope(run).read;
      expectSame(fused, await run().read, 'the sum');
    });
  });
}

/** Expects what `run` makes to have the same bits where launches may be fused as where none is. */
async function expectSameApart(made: Backend, run: () => readonly Tensor[]): Promise<void> {
  const outcomes: Float32Array[][] = [];
  // Prompts leave out what nothing reads: the last results are read alone first, then all of them.
  for (const { isFused, first } of [{ isFused: true, first: LAST }, { isFused: true }, { isFused: false }]) {
    const reads = () => {
      const results = run();
      return { reads: results.slice(first).map((x) => made.read(x)) };
    };
    // Outside of a scope each tensor is allocated after what was launched before: that leaves nothing to fuse.
    outcomes.push(await Promise.all((isFused ? made.scope(reads) : reads()).reads));
  }
  const [last, fused, alone] = outcomes;
  for (const [i, expected] of alone.slice(LAST).entries()) expectSame(last[i], expected, `last result ${i}`);
  for (const [i, expected] of alone.entries()) expectSame(fused[i], expected, `result ${i}`);
}

interface LayerInput {
  readonly hidden: Tensor;
  readonly mixed: Tensor;
  readonly conv: Tensor;
  readonly ssm: Tensor;
}

interface LayerWeights {
  readonly norm: Tensor;
  readonly inProj: ReturnType<Backend['linearWeight']>;
  readonly inBias: Tensor;
  readonly conv: Tensor;
  readonly convBias: Tensor;
  readonly A: Tensor;
  readonly gatedNorm: Tensor;
  readonly outProj: ReturnType<Backend['linearWeight']>;
}

/** A layer's operations as the mixer calls them, with the residual before it: all that they make. */
function layer(
  made: Backend,
  { hidden, mixed, conv, ssm }: LayerInput,
  weights: LayerWeights,
  normGroups: number,
): Tensor[] {
  const sum = made.add(hidden, mixed);
  const normed = made.rmsNorm(sum, weights.norm, 1e-5);
  const projected = made.linear(normed, weights.inProj, weights.inBias);
  const [gate, xBC, dt] = made.splitColumns(projected, [INNER, CONVOLVED, H]);
  const convolved = made.causalConv1dUpdate({
    ...{ x: xBC, weight: weights.conv, bias: weights.convBias },
    ...{ convState: conv, activation: 'silu' },
  });
  const [x, B, C] = made.splitColumns(convolved, [INNER, G * N, G * N]);
  const y = made.selectiveStateUpdate({ state: ssm, x, dt, A: weights.A, B, C, nGroups: G, dtSoftplus: true });
  const layout = { firstColumn: 0, groupSize: INNER / normGroups };
  const gated = made.siluGate(y, gate);
  const squareSums = made.groupSquareSums(gated, normGroups, layout);
  const scaled = made.scaleByGroupNorm(gated, squareSums, weights.gatedNorm, 1e-5, layout);
  const out = made.linear(scaled, weights.outProj);
  return [sum, normed, projected, convolved, y, gated, squareSums, scaled, out, made.add(sum, out)];
}
