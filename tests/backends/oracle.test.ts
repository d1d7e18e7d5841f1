import { describe, expect, test } from 'vitest';
import { attentionForm, type RecurrenceProblem, recurrence, stepSize } from './oracle/state-space.ts';
import { expectClose } from './suite/harness.ts';
import { Inputs } from './suite/inputs.ts';

describe('oracles', () => {
  test.each([1, 2, 4])('the recurrence and its closed form agree (%i groups)', (groups) => {
    const [T, H, P, N] = [13, 4, 3, 5];
    const inputs = new Inputs(groups);
    const problem: RecurrenceProblem = {
      tokens: T,
      heads: H,
      headDim: P,
      stateSize: N,
      groups,
      x: inputs.normal(T * H * P),
      delta: inputs.normal(T * H * P).map(Math.abs),
      A: inputs.decayRates(H * P * N),
      B: inputs.normal(T * groups * N),
      C: inputs.normal(T * groups * N),
      D: inputs.normal(H * P),
      z: inputs.normal(T * H * P),
      initial: inputs.normal(H * P * N),
    };
    expectClose(recurrence(problem).y, attentionForm(problem), { relative: 1e-12, absolute: 1e-12 }, 'y');
  });

  test('one head by hand: Δ = ln 2 halves a state that decays at rate 1', () => {
    const delta = Math.log(2);
    const problem = { tokens: 2, heads: 1, headDim: 1, stateSize: 1, groups: 1, A: [-1], B: [1, 1], C: [1, 10] };
    const { y, state } = recurrence({ ...problem, x: [3, 0], delta: [delta, delta], initial: [8], D: [100] });
    expectClose(y, [4 + 3 * delta + 300, (2 + 1.5 * delta) * 10], { relative: 1e-15, absolute: 0 }, 'y');
    expectClose(state, [2 + 1.5 * delta], { relative: 1e-15, absolute: 0 }, 'state');
  });

  test('step sizes', () => {
    const all = [0, Number.POSITIVE_INFINITY] as const;
    expect(stepSize(0.5, -0.5, true, all)).toBeCloseTo(Math.LN2, 15);
    expect(stepSize(-40, 0, true, all)).toBeCloseTo(Math.exp(-40), 30);
    expect(stepSize(-1e4, 0, true, all)).toBe(0);
    expect(stepSize(1e4, 0, true, all)).toBe(1e4);
    expect(stepSize(-1, 0, false, all)).toBe(0);
    expect(stepSize(5, 0, false, [0.1, 2])).toBe(2);
  });
});
