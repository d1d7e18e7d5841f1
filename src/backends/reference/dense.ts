import { ArgumentError } from '../../errors.ts';
import type { WeightDType } from '../../tensor/dtype.ts';
import { roundWeight } from '../../tensor/quantize.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { checkLength } from '../contract/arrays.ts';
import { floats, type HostTensor, hostZeros, ints, vector } from '../contract/host-tensor.ts';
import { checkWeightRows, type LinearWeight } from '../contract/linear.ts';
import { checkDistinctRows, checkRowNumbers } from '../contract/rows.ts';

/** A matrix kept row-major in float32, holding only values that its storage dtype can hold. */
export class HostLinearWeight implements LinearWeight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly dtype: WeightDType;
  readonly data: Float32Array;

  /** All zeros. */
  constructor(outFeatures: number, inFeatures: number, dtype: WeightDType) {
    this.outFeatures = outFeatures;
    this.inFeatures = inFeatures;
    this.dtype = dtype;
    this.data = new Float32Array(outFeatures * inFeatures);
  }

  writeRows(firstRow: number, values: Float32Array): void {
    checkWeightRows(values.length, firstRow, this);
    const begin = firstRow * this.inFeatures;
    const rows = this.data.subarray(begin, begin + values.length);
    rows.set(values);
    roundWeight(rows, this.inFeatures, this.dtype);
  }
}

/**
 * A matrix (outFeatures, inFeatures) on the host, for calling the operations directly.
 * @param dtype what its values are rounded to.
 *
 * @example
 * ```ts
 * const weight = hostLinearWeight([1, 2, 3, 4, 5, 6], 2, 3, 'bfloat16'); // (2, 3), rounded to bfloat16
 * ```
 */
export function hostLinearWeight(
  weight: Float32Array | readonly number[],
  outFeatures: number,
  inFeatures: number,
  dtype: WeightDType = 'float32',
): LinearWeight {
  checkLength(weight.length, [outFeatures, inFeatures]);
  const host = new HostLinearWeight(outFeatures, inFeatures, dtype);
  host.writeRows(0, Float32Array.from(weight));
  return host;
}

/**
 * Reference of `Backend.linear`.
 *
 * @example
 * ```ts
 * const y = linear(hostTensor([1, 1, 1], [1, 3]), hostLinearWeight([1, 2, 3, 4, 5, 6], 2, 3)); // 6 and 15
 * ```
 */
export function linear(x: Tensor, weight: LinearWeight, bias?: Tensor): HostTensor<Float32Array> {
  const w = hostWeight(weight);
  const { outFeatures, inFeatures } = w;
  const input = floats(x, 'x', [null, inFeatures]);
  const b = bias && vector(bias, 'bias', outFeatures);
  const T = x.shape[0];
  const out = hostZeros([T, outFeatures]);
  for (let t = 0; t < T; t++) {
    const row = input.data.subarray(t * input.stride, t * input.stride + inFeatures);
    let o = 0;
    // Four outputs at once: one sum alone waits for each of its own additions.
    for (; o + 4 <= outFeatures; o += 4) {
      const [w0, w1, w2, w3] = [o, o + 1, o + 2, o + 3].map((r) => r * inFeatures);
      let [y0, y1, y2, y3] = [0, 0, 0, 0];
      for (let i = 0; i < inFeatures; i++) {
        const xi = row[i];
        y0 += xi * w.data[w0 + i];
        y1 += xi * w.data[w1 + i];
        y2 += xi * w.data[w2 + i];
        y3 += xi * w.data[w3 + i];
      }
      out.data.set([y0, y1, y2, y3], t * outFeatures + o);
    }
    for (; o < outFeatures; o++) {
      let y = 0;
      for (let i = 0; i < inFeatures; i++) y += row[i] * w.data[o * inFeatures + i];
      out.data[t * outFeatures + o] = y;
    }
    if (b) for (let i = 0; i < outFeatures; i++) out.data[t * outFeatures + i] += b[i];
  }
  return out;
}

/** Reference of {@link Backend.embedding}. */
export function embedding(ids: Tensor, table: LinearWeight, firstRow = 0): HostTensor<Float32Array> {
  const w = hostWeight(table);
  const rows = ints(ids, 'ids', null);
  const out = hostZeros([rows.length, w.inFeatures]);
  rows.forEach((id, t) => {
    const row = id - firstRow;
    if (row < 0 || row >= w.outFeatures) return;
    out.data.set(w.data.subarray(row * w.inFeatures, (row + 1) * w.inFeatures), t * w.inFeatures);
  });
  return out;
}

/** Reference of {@link Backend.gatherRows}. */
export function gatherRows(x: Tensor, rows: Tensor): HostTensor<Float32Array> {
  const from = floats(x, 'x', [null, null]);
  const indices = ints(rows, 'rows', null);
  const [T, C] = x.shape;
  checkRowNumbers(indices, T);
  const out = hostZeros([indices.length, C]);
  indices.forEach((row, r) => {
    out.data.set(from.data.subarray(row * from.stride, row * from.stride + C), r * C);
  });
  return out;
}

/** Reference of {@link Backend.scatterRows}. */
export function scatterRows(x: Tensor, rows: Tensor, into: Tensor): void {
  const to = floats(into, 'into', [null, null]);
  const [T, C] = into.shape;
  const indices = ints(rows, 'rows', null);
  const from = floats(x, 'x', [indices.length, C]);
  checkDistinctRows(indices, T);
  indices.forEach((row, r) => {
    to.data.set(from.data.subarray(r * from.stride, r * from.stride + C), row * to.stride);
  });
}

/** Reference of {@link Backend.add}. */
export function add(x: Tensor, y: Tensor): HostTensor<Float32Array> {
  const [T, C] = x.shape;
  const a = floats(x, 'x', [null, null]);
  const b = floats(y, 'y', [T, C]);
  return elementwise(T, C, (t, c) => a.data[t * a.stride + c] + b.data[t * b.stride + c]);
}

/** Reference of {@link Backend.mulScalar}. */
export function mulScalar(x: Tensor, factor: number): HostTensor<Float32Array> {
  const [T, C] = x.shape;
  const a = floats(x, 'x', [null, null]);
  return elementwise(T, C, (t, c) => a.data[t * a.stride + c] * factor);
}

/** Reference of {@link Backend.mulColumns}. */
export function mulColumns(x: Tensor, v: Tensor): HostTensor<Float32Array> {
  const [T, C] = x.shape;
  const a = floats(x, 'x', [null, null]);
  const factors = vector(v, 'v', C);
  return elementwise(T, C, (t, c) => a.data[t * a.stride + c] * factors[c]);
}

function elementwise(T: number, C: number, value: (t: number, c: number) => number): HostTensor<Float32Array> {
  const out = hostZeros([T, C]);
  for (let t = 0; t < T; t++) for (let c = 0; c < C; c++) out.data[t * C + c] = value(t, c);
  return out;
}

function hostWeight(weight: LinearWeight): HostLinearWeight {
  if (weight instanceof HostLinearWeight) return weight;
  throw new ArgumentError(
    'The weight belongs to another backend.',
    'Make it with linearWeight of the reference backend.',
  );
}
