import { afterAll, assert, beforeAll } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';

export type MakeBackend = () => Promise<Backend> | Backend;

/** |actual - expected| <= absolute + relative * |expected| */
export interface Tolerance {
  readonly relative: number;
  readonly absolute: number;
}

/** What a backend promises beyond the contract. The suite holds it to that. */
export interface Demands {
  /** Against float64 oracles. */
  readonly tolerances: {
    readonly convolution: Tolerance;
    readonly stateSpace: Tolerance;
    readonly dense: Tolerance;
    readonly norm: Tolerance;
    /** Linear layers over int8 and int4 weights, for which a backend may quantise its activations. */
    readonly quantized: Tolerance;
  };
  /** Whether no bit depends on how tokens are split, packed and chunked. Otherwise the tolerances apply. */
  readonly bitExact: boolean;
}

/** The backend under test, made once per `describe` block. */
export function useBackend(makeBackend: MakeBackend): () => Backend {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await makeBackend();
  });
  afterAll(() => backend?.dispose?.());
  return () => {
    assert(backend !== undefined, 'The backend is used outside a test.');
    return backend;
  };
}

/** An int32 tensor (values). */
export function indices(backend: Backend, values: readonly number[]): Tensor {
  return backend.tensor(Int32Array.from(values), [values.length]);
}

/** Fails with the worst element when any lies outside the tolerance. */
export function expectClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  { relative, absolute }: Tolerance,
  what: string,
): void {
  assert(actual.length === expected.length, `${what}: ${actual.length} values, expected ${expected.length}`);
  let worst = -1;
  let excess = 1;
  for (let i = 0; i < actual.length; i++) {
    const ratio = Math.abs(actual[i] - expected[i]) / (absolute + relative * Math.abs(expected[i]));
    // NaN fails every comparison, and must fail the test.
    if (ratio <= excess) continue;
    excess = Number.isNaN(ratio) ? Number.POSITIVE_INFINITY : ratio;
    worst = i;
  }
  if (worst < 0) return;
  assert.fail(
    `${what}: [${worst}] is ${actual[worst]}, expected ${expected[worst]} (${excess.toFixed(1)} tolerances away)`,
  );
}

/** Fails unless all values are the same; unlike ===, NaN is itself and -0 is not 0. */
export function expectSame(actual: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  assert(actual.length === expected.length, `${what}: ${actual.length} values, expected ${expected.length}`);
  for (let i = 0; i < actual.length; i++) {
    if (!Object.is(actual[i], expected[i])) assert.fail(`${what}: [${i}] is ${actual[i]}, expected ${expected[i]}`);
  }
}

/** Two results of the backend for the same mathematics, computed along different ways. */
export function expectAgreement(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  demands: Demands,
  tolerance: Tolerance,
  what: string,
): void {
  if (demands.bitExact) expectSame(actual, expected, what);
  else expectClose(actual, expected, tolerance, what);
}

export function expectFinite(values: ArrayLike<number>, what: string): void {
  for (let i = 0; i < values.length; i++) assert(Number.isFinite(values[i]), `${what}: [${i}] is ${values[i]}`);
}

/** x (rows, columns) as a view of the middle columns of a wider tensor. */
export function stridedView(backend: Backend, x: Float32Array, rows: number, columns: number): Tensor {
  const [before, after] = [3, 5];
  const width = before + columns + after;
  const wide = new Float32Array(rows * width).fill(1e6);
  for (let r = 0; r < rows; r++) wide.set(x.subarray(r * columns, (r + 1) * columns), r * width + before);
  return backend.splitColumns(backend.tensor(wide, [rows, width]), [before, columns, after])[1];
}
