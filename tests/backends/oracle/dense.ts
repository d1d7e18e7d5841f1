/** y = x Wᵀ + bias in float64. x (T, in), weight (out, in), bias (out) → (T, out). */
export function linear(
  x: Float32Array,
  weight: Float32Array,
  inFeatures: number,
  outFeatures: number,
  bias?: Float32Array,
): Float64Array {
  const T = x.length / inFeatures;
  const y = new Float64Array(T * outFeatures);
  for (let t = 0; t < T; t++) {
    for (let o = 0; o < outFeatures; o++) {
      let sum = bias ? bias[o] : 0;
      for (let i = 0; i < inFeatures; i++) sum += x[t * inFeatures + i] * weight[o * inFeatures + i];
      y[t * outFeatures + o] = sum;
    }
  }
  return y;
}

/** Row `id - firstRow` of a table (rows, C) for each id, zeros where there is none. */
export function embedding(
  ids: readonly number[],
  table: Float32Array,
  columns: number,
  firstRow: number,
): Float32Array {
  const out = new Float32Array(ids.length * columns);
  ids.forEach((id, t) => {
    for (let c = 0; c < columns; c++) out[t * columns + c] = table[(id - firstRow) * columns + c] ?? 0;
  });
  return out;
}
