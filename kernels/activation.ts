// Nonlinearities of feed-forward layers, alone or as gates.

import { exp4, madd, ONE, silu4 } from './math';

/** Numbers of the kinds, in the order of MLP_ACTIVATIONS in src/backends/contract/activations.ts. */
const SILU: i32 = 0;
const GELU: i32 = 1;
const GELU_TANH: i32 = 2;
const RELU: i32 = 3;
const RELU2: i32 = 4;

/** See CONSTANTS in ./math. */
const GELU_CONSTANTS = memory.data<f32>([
  // 1/√2, p, then a5 to a1 of Abramowitz and Stegun, 7.1.26
  0.70710678118654752, 0.3275911, 1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592,
  // 1/2; -2 √(2/π) and 0.044715 of the tanh form
  0.5, -1.5957691216057308, 0.044715,
]);

/** out = activation(x) */
export function activateRows(x: usize, xStride: usize, out: usize, outStride: usize, rows: i32, columns: i32, kind: i32): void {
  for (let r = 0; r < rows; r++) {
    activateRow(x, 0, out, columns, kind);
    x += xStride;
    out += outStride;
  }
}

/** out = activation(gate) * x */
export function activateAndMulRows(
  gate: usize, gateStride: usize, x: usize, xStride: usize, out: usize, outStride: usize, rows: i32, columns: i32, kind: i32,
): void {
  for (let r = 0; r < rows; r++) {
    activateRow(gate, x, out, columns, kind);
    gate += gateStride;
    x += xStride;
    out += outStride;
  }
}

/** Times x, unless that is 0. The kind is chosen outside of the loop over columns. */
function activateRow(v: usize, x: usize, out: usize, columns: i32, kind: i32): void {
  if (kind == SILU) mapRow(v, x, out, columns, SILU);
  else if (kind == GELU) mapRow(v, x, out, columns, GELU);
  else if (kind == GELU_TANH) mapRow(v, x, out, columns, GELU_TANH);
  else if (kind == RELU) mapRow(v, x, out, columns, RELU);
  else if (kind == RELU2) mapRow(v, x, out, columns, RELU2);
  else mapRow(v, x, out, columns, -1);
}

// @ts-ignore: decorator
@inline
function mapRow(v: usize, x: usize, out: usize, columns: i32, kind: i32): void {
  const bytes = <usize>columns << 2;
  if (x == 0) {
    for (let c: usize = 0; c < bytes; c += 16) v128.store(out + c, activation4(v128.load(v + c), kind));
  } else {
    for (let c: usize = 0; c < bytes; c += 16) {
      v128.store(out + c, f32x4.mul(activation4(v128.load(v + c), kind), v128.load(x + c)));
    }
  }
}

// @ts-ignore: decorator
@inline
function activation4(v: v128, kind: i32): v128 {
  if (kind == SILU) return silu4(v);
  if (kind == GELU) return gelu4(v);
  if (kind == GELU_TANH) return geluTanh4(v);
  if (kind == RELU) return relu4(v);
  if (kind == RELU2) return f32x4.mul(relu4(v), relu4(v));
  return v;
}

/** max(v, 0); NaN stays. */
// @ts-ignore: decorator
@inline
function relu4(v: v128): v128 {
  return f32x4.pmax(v, f32x4.splat(0));
}

/**
 * v Φ(v), Φ(v) = erfc(-v/√2) / 2. For s = |v|/√2, erfc(s) is a polynomial of 1 / (1 + p s) times exp(-s²), within 1.5e-7
 * (Abramowitz and Stegun, 7.1.26); that is 2 Φ where v is negative, and 2 - 2 Φ elsewhere.
 */
// @ts-ignore: decorator
@inline
function gelu4(v: v128): v128 {
  const one = v128.load32_splat(ONE);
  const s = f32x4.mul(f32x4.abs(v), v128.load32_splat(GELU_CONSTANTS));
  const t = f32x4.div(one, madd(s, v128.load32_splat(GELU_CONSTANTS, 4), one));
  let p = madd(v128.load32_splat(GELU_CONSTANTS, 8), t, v128.load32_splat(GELU_CONSTANTS, 12));
  p = madd(p, t, v128.load32_splat(GELU_CONSTANTS, 16));
  p = madd(p, t, v128.load32_splat(GELU_CONSTANTS, 20));
  p = madd(p, t, v128.load32_splat(GELU_CONSTANTS, 24));
  const tail = f32x4.mul(f32x4.mul(p, t), f32x4.mul(exp4(f32x4.neg(f32x4.mul(s, s))), v128.load32_splat(GELU_CONSTANTS, 28)));
  const isNegative = i32x4.shr_s(v, 31);
  return f32x4.mul(v, v128.bitselect(tail, f32x4.sub(one, tail), isNegative));
}

/** v (1 + tanh(u)) / 2 = v / (1 + exp(-2 u)), u = √(2/π) (v + 0.044715 v³) */
// @ts-ignore: decorator
@inline
function geluTanh4(v: v128): v128 {
  const one = v128.load32_splat(ONE);
  const cubic = madd(f32x4.mul(v, v), v128.load32_splat(GELU_CONSTANTS, 36), one);
  const minus2u = f32x4.mul(f32x4.mul(v, v128.load32_splat(GELU_CONSTANTS, 32)), cubic);
  return f32x4.div(v, f32x4.add(one, exp4(minus2u)));
}
