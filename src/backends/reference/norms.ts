import { ArgumentError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { floats, type HostTensor, hostZeros, vector } from '../contract/host-tensor.ts';
import { checkGroups, type GroupLayout } from '../contract/norms.ts';
import { silu } from './activation.ts';

/**
 * Reference of `Backend.rmsNorm`.
 *
 * @example
 * ```ts
 * const y = rmsNorm(hostTensor([3, 4], [1, 2]), hostTensor([1, 1], [2]), 1e-5); // 0.849 and 1.131
 * ```
 */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number): HostTensor<Float32Array> {
  const C = x.shape[1];
  return scaleByGroupNorm(x, groupSquareSums(x, 1, wholeRow(C)), weight, eps, wholeRow(C));
}

/** Reference of {@link Backend.siluGate}. */
export function siluGate(x: Tensor, z: Tensor): HostTensor<Float32Array> {
  const [T, C] = x.shape;
  const values = floats(x, 'x', [null, null]);
  const gates = floats(z, 'z', [T, C]);
  const out = hostZeros([T, C]);
  for (let t = 0; t < T; t++) {
    for (let c = 0; c < C; c++) {
      out.data[t * C + c] = values.data[t * values.stride + c] * silu(gates.data[t * gates.stride + c]);
    }
  }
  return out;
}

/** Reference of {@link Backend.groupSquareSums}. */
export function groupSquareSums(v: Tensor, groups: number, layout: GroupLayout): HostTensor<Float32Array> {
  const values = floats(v, 'v', [null, null]);
  const [T, C] = v.shape;
  checkGroups(C, groups, layout);
  const out = hostZeros([T, groups]);
  const sums = new Float64Array(groups);
  for (let t = 0; t < T; t++) {
    sums.fill(0);
    for (let c = 0; c < C; c++) sums[groupOf(c, layout)] += values.data[t * values.stride + c] ** 2;
    out.data.set(sums, t * groups);
  }
  return out;
}

/** Reference of {@link Backend.scaleByGroupNorm}. */
export function scaleByGroupNorm(
  v: Tensor,
  squareSums: Tensor,
  weight: Tensor,
  eps: number,
  layout: GroupLayout,
): HostTensor<Float32Array> {
  const [T, C] = v.shape;
  const values = floats(v, 'v', [null, null]);
  const sums = floats(squareSums, 'squareSums', [T, null]);
  const scales = vector(weight, 'weight', C);
  checkGroups(C, squareSums.shape[1], layout);
  const out = hostZeros([T, C]);
  for (let t = 0; t < T; t++) {
    for (let c = 0; c < C; c++) {
      const meanSquare = sums.data[t * sums.stride + groupOf(c, layout)] / layout.groupSize;
      out.data[t * C + c] = (values.data[t * values.stride + c] / Math.sqrt(meanSquare + eps)) * scales[c];
    }
  }
  return out;
}

/** Reference of {@link Backend.scaleRows}. */
export function scaleRows(x: Tensor, squareSums: Tensor, count: number, eps: number): HostTensor<Float32Array> {
  const [T, C] = x.shape;
  const values = floats(x, 'x', [null, null]);
  const sums = floats(squareSums, 'squareSums', [T, 1]);
  const out = hostZeros([T, C]);
  for (let t = 0; t < T; t++) {
    const root = Math.sqrt(sums.data[t * sums.stride] / count + eps);
    for (let c = 0; c < C; c++) out.data[t * C + c] = values.data[t * values.stride + c] / root;
  }
  return out;
}

/** Arguments of {@link rmsNormGated} besides x. */
export interface RmsNormGatedOptions {
  /** (C) */
  readonly weight: Tensor;
  /** (T, C): the gate. Without it this is a plain grouped norm. */
  readonly z?: Tensor | undefined;
  /** Default: 1e-6. */
  readonly eps?: number | undefined;
  /** Columns that are normalised together; divides C. Default: C. */
  readonly groupSize?: number | undefined;
  /** norm(x) * silu(z) instead of norm(x * silu(z)). Default: false, which is what Mamba-2 models use. */
  readonly normBeforeGate?: boolean | undefined;
}

/**
 * The gated norm of Mamba-2 in one piece: norm(x * silu(z)) * weight over groups of columns. x (T, C) → (T, C).
 *
 * @example
 * ```ts
 * const x = hostTensor([3, 4, 1, 1], [1, 4]);
 * const z = hostTensor([1, 1, 1, 1], [1, 4]);
 * const y = rmsNormGated(x, { weight: hostTensor([1, 1, 1, 1], [4]), z, groupSize: 2 });
 * ```
 */
export function rmsNormGated(x: Tensor, options: RmsNormGatedOptions): HostTensor<Float32Array> {
  const C = x.shape[1];
  const { weight, z, eps = 1e-6, groupSize = C, normBeforeGate = false } = options;
  if (groupSize < 1 || C % groupSize !== 0) {
    throw new ArgumentError(`${C} columns can't be cut into groups of ${groupSize}.`, 'groupSize divides the columns.');
  }
  const layout = { firstColumn: 0, groupSize };
  const v = z && !normBeforeGate ? siluGate(x, z) : x;
  const normed = scaleByGroupNorm(v, groupSquareSums(v, C / groupSize, layout), weight, eps, layout);
  return z && normBeforeGate ? siluGate(normed, z) : normed;
}

function wholeRow(C: number): GroupLayout {
  return { firstColumn: 0, groupSize: C };
}

function groupOf(c: number, layout: GroupLayout): number {
  return Math.floor((layout.firstColumn + c) / layout.groupSize);
}
