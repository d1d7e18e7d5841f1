// Loops over the logits of a whole vocabulary, for the engine's sampler. Only instructions that are the same in every engine
// are used, so that a seed draws the same tokens everywhere. `x` are n float32 logits, `weights` n float64. `table` holds
// exp(-i / 32) for i from 0 to 1280.

import { exp4 } from '../math';

const STEPS: f64 = 32, LOWEST: f64 = -40;

/** The largest logit: NaN if one is NaN, -Infinity if there is none. */
export function largest(x: usize, n: i32): f32 {
  const end = x + (<usize>n << 2);
  let lanes = f32x4.splat(-Infinity);
  for (; x + 16 <= end; x += 16) lanes = f32x4.max(lanes, v128.load(x));
  let most = max<f32>(
    max<f32>(f32x4.extract_lane(lanes, 0), f32x4.extract_lane(lanes, 1)),
    max<f32>(f32x4.extract_lane(lanes, 2), f32x4.extract_lane(lanes, 3)),
  );
  for (; x < end; x += 4) most = max<f32>(most, load<f32>(x));
  return most;
}

/** Σ exp(x - largest), each in float32 and the sum in float64. */
export function sumOfExponentials(x: usize, n: i32, largest: f32): f64 {
  let low = f64x2.splat(0), high = f64x2.splat(0);
  const top = f32x4.splat(largest);
  const end = x + (<usize>n << 2), wholes = x + (<usize>(n & ~3) << 2);
  for (; x < wholes; x += 16) {
    const e = exp4(f32x4.sub(v128.load(x), top));
    low = f64x2.add(low, f64x2.promote_low_f32x4(e));
    high = f64x2.add(high, f64x2.promote_low_f32x4(i8x16.shuffle(e, e, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15)));
  }
  low = f64x2.add(low, high);
  let sum = f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1);
  for (; x < end; x += 4) sum += <f64>f32x4.extract_lane(exp4(f32x4.splat(load<f32>(x) - largest)), 0);
  return sum;
}

/** Writes exp((x - largest) · inverse) as weights, or 0 where that is below minP. → their sum */
export function weigh(weights: usize, x: usize, n: i32, largest: f64, inverse: f64, minP: f64, table: usize): f64 {
  const top = f64x2.splat(largest), scale = f64x2.splat(inverse), least = f64x2.splat(minP);
  let sums = f64x2.splat(0);
  const end = x + (<usize>(n & ~1) << 2);
  for (; x < end; x += 8, weights += 16) {
    const w = exponentials(f64x2.mul(f64x2.sub(pairAt(x), top), scale), table);
    const kept = v128.and(w, f64x2.ge(w, least));
    v128.store(weights, kept);
    sums = f64x2.add(sums, kept);
  }
  const sum = f64x2.extract_lane(sums, 0) + f64x2.extract_lane(sums, 1);
  if (!(n & 1)) return sum;
  const w = f64x2.extract_lane(exponentials(f64x2.splat((<f64>load<f32>(x) - largest) * inverse), table), 0);
  const last: f64 = w >= minP ? w : 0;
  store<f64>(weights, last);
  return sum + last;
}

/** Index at which the running sum of weights passes `target`; that of the last weight that is not 0, if none does. */
export function pick(weights: usize, n: i32, target: f64): i32 {
  let sum: f64 = 0;
  let last = 0;
  for (let i = 0; i < n; i++, weights += 8) {
    const weight = load<f64>(weights);
    if (weight == 0) continue;
    sum += weight;
    last = i;
    if (sum > target) break;
  }
  return last;
}

// @ts-ignore: decorator
@inline
function pairAt(x: usize): v128 {
  return f64x2.promote_low_f32x4(v128.load64_zero(x));
}

/**
 * exp of two numbers that are not above 0, to 12 digits; 0 below -40 and for NaN.
 * x = r - k / 32 with r in (-1 / 32, 0]: the table's entry times five terms of the series.
 */
// @ts-ignore: decorator
@inline
function exponentials(x: v128, table: usize): v128 {
  const lowest = f64x2.splat(LOWEST), one = f64x2.splat(1);
  // NaN becomes the lowest, too.
  const v = f64x2.pmax(lowest, x);
  const k = i32x4.trunc_sat_f64x2_s_zero(f64x2.mul(v, f64x2.splat(-STEPS)));
  const r = f64x2.add(v, f64x2.mul(f64x2.convert_low_i32x4_s(k), f64x2.splat(1 / STEPS)));
  let p = f64x2.add(f64x2.splat(1.0 / 24), f64x2.mul(r, f64x2.splat(1.0 / 120)));
  p = f64x2.add(f64x2.splat(1.0 / 6), f64x2.mul(r, p));
  p = f64x2.add(f64x2.splat(1.0 / 2), f64x2.mul(r, p));
  p = f64x2.add(one, f64x2.mul(r, p));
  p = f64x2.add(one, f64x2.mul(r, p));
  const first = table + (<usize>i32x4.extract_lane(k, 0) << 3);
  const second = table + (<usize>i32x4.extract_lane(k, 1) << 3);
  const t = v128.load64_lane(second, v128.load64_zero(first), 1);
  return v128.and(f64x2.mul(t, p), f64x2.gt(x, lowest));
}
