import { softplus4 } from './math';

/**
 * Per sequence and head Σ_t min(A Δ_t, 0), Δ = clamp(softplus(dt + bias)). Sequence b has rows [starts[b], starts[b+1]);
 * without `starts` row b alone. A, dtBias (H). Rows of out have room for whole vectors.
 */
export function logDecaySums(
  dt: usize, dtStride: usize, A: usize, dtBias: usize, starts: usize, sequences: i32, out: usize, outStride: usize, H: i32,
  useSoftplus: bool, low: f32, high: f32,
): void {
  const zero = f32x4.splat(0);
  const lowest = f32x4.splat(low), highest = f32x4.splat(high);
  for (let b = 0; b < sequences; b++) {
    const begin = starts ? load<i32>(starts + (<usize>b << 2)) : b;
    const end = starts ? load<i32>(starts + (<usize>b << 2), 4) : b + 1;
    for (let h: usize = 0; h < <usize>H << 2; h += 16) {
      const rates = v128.load(A + h), bias = v128.load(dtBias + h);
      let sum = zero;
      let row = dt + <usize>begin * dtStride + h;
      for (let t = begin; t < end; t++) {
        let delta = f32x4.add(v128.load(row), bias);
        if (useSoftplus) delta = softplus4(delta);
        delta = f32x4.pmin(f32x4.pmax(delta, lowest), highest);
        sum = f32x4.add(sum, f32x4.pmin(f32x4.mul(rates, delta), zero));
        row += dtStride;
      }
      v128.store(out + h, sum);
    }
    out += outStride;
  }
}
