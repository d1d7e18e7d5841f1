// Functions of four lanes. Each lane's result depends on its own value alone, so padding lanes do no harm.

/**
 * Constants of the functions below. V8 builds a constant vector of some seven instructions each time round a loop; a
 * load that spreads one number over the lanes is one.
 */
const CONSTANTS = memory.data<f32>([
  // exp: bounds of the argument, 1 / ln 2, 1.5 * 2^23, -ln 2 in two parts, polynomial
  88.0, -87.0, 1.44269504088896341, 12582912.0, -0.693359375, 2.12194440e-4,
  1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1,
  1.0,
  // log1p: 2 and 2 / (2 i + 1), from the last to the first
  2.0, 0.13333333333333333, 0.15384615384615385, 0.18181818181818182, 0.2222222222222222, 0.2857142857142857, 0.4, 0.6666666666666666,
]);
const EXP_CONSTANTS = CONSTANTS + 24;
export const ONE = CONSTANTS + 48;
const LOG_CONSTANTS = CONSTANTS + 52;

/** a * b + c. Fused where instructions are relaxed: an engine decides once and for all how it computes that. */
// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(c, f32x4.mul(a, b));
}

/**
 * exp(x), within 2 units in the last place; inputs are clamped to where the result is a normal number.
 * Reduction to |r| <= ln 2 / 2 and polynomial of Cephes' expf (Stephen Moshier, public domain).
 */
// @ts-ignore: decorator
@inline
export function exp4(x: v128): v128 {
  const magic = v128.load32_splat(CONSTANTS, 12);
  // Unlike min and max, these are single instructions.
  const v = f32x4.pmax(f32x4.pmin(x, v128.load32_splat(CONSTANTS)), v128.load32_splat(CONSTANTS, 4));
  // Adding 1.5 * 2^23 rounds to an integer, which stands in the low bits.
  const shifted = madd(v, v128.load32_splat(CONSTANTS, 8), magic);
  const n = f32x4.sub(shifted, magic);
  const r = madd(n, v128.load32_splat(CONSTANTS, 20), madd(n, v128.load32_splat(CONSTANTS, 16), v));
  let p = madd(v128.load32_splat(EXP_CONSTANTS), r, v128.load32_splat(EXP_CONSTANTS, 4));
  p = madd(p, r, v128.load32_splat(EXP_CONSTANTS, 8));
  p = madd(p, r, v128.load32_splat(EXP_CONSTANTS, 12));
  p = madd(p, r, v128.load32_splat(EXP_CONSTANTS, 16));
  p = madd(p, r, v128.load32_splat(EXP_CONSTANTS, 20));
  p = f32x4.add(madd(f32x4.mul(p, r), r, r), v128.load32_splat(ONE));
  return i32x4.add(p, i32x4.shl(shifted, 23));
}

/** x / (1 + exp(-x)) */
// @ts-ignore: decorator
@inline
export function silu4(x: v128): v128 {
  return f32x4.div(x, f32x4.add(v128.load32_splat(ONE), exp4(f32x4.neg(x))));
}

/**
 * log(1 + exp(x)) = max(x, 0) + log1p(u) with u = exp(-|x|), and log1p(u) = 2 artanh(s) = 2 s (1 + s²/3 + s⁴/5 ...)
 * with s = u / (2 + u) <= 1/3: no overflow, and nothing is lost where the result is small.
 */
// @ts-ignore: decorator
@inline
export function softplus4(x: v128): v128 {
  const zero = f32x4.splat(0);
  const u = exp4(f32x4.neg(f32x4.abs(x)));
  const s = f32x4.div(u, f32x4.add(u, v128.load32_splat(LOG_CONSTANTS)));
  const square = f32x4.mul(s, s);
  let p = madd(v128.load32_splat(LOG_CONSTANTS, 4), square, v128.load32_splat(LOG_CONSTANTS, 8));
  p = madd(p, square, v128.load32_splat(LOG_CONSTANTS, 12));
  p = madd(p, square, v128.load32_splat(LOG_CONSTANTS, 16));
  p = madd(p, square, v128.load32_splat(LOG_CONSTANTS, 20));
  p = madd(p, square, v128.load32_splat(LOG_CONSTANTS, 24));
  p = madd(p, square, v128.load32_splat(LOG_CONSTANTS, 28));
  p = madd(p, square, v128.load32_splat(LOG_CONSTANTS));
  return madd(s, p, f32x4.pmax(x, zero));
}

/** The sum of a vector's lanes, always in the same order. */
// @ts-ignore: decorator
@inline
export function sumLanes(v: v128): f32 {
  return f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3));
}
