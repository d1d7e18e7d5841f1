// One row of x: a block's codes meet it as they are, and nothing is spelled out.

import { clearRows } from '../linear-int8';
import { store16 } from '../linear-float';
import { madd } from '../math';
import { BLOCK, dot4 } from '../quantized';
import { sumBytes } from './activations';
import { codesOf, unitBytes, unitInputs } from './codes';
import {
  blockBytes, codesAt, constant, EVEN_BYTES, factorOf, hasByteScales, hasFactor, hasMinima, headBytes, isSigned, minimaAt, minimumFactorOf, minimumSum,
  offsetsOf, panelBytesOf, partInputs, partNumbers, scaleOf, startOf, wordsAt,
} from './formats';

/** Panels that the row passes side by side. */
const SIDE_BY_SIDE: i32 = 8;

/** Arguments as those of linear in index.ts. */
export function oneRow<F>(q: usize, scales: usize, sums: usize, w: usize, out: usize, panels: i32, K: i32): void {
  const bytes = panelBytesOf<F>(K);
  const each = panels / SIDE_BY_SIDE;
  for (let i = 0; i < each; i++) {
    somePanels<F>(q, scales, sums, w, <usize>each * bytes, out, <usize>each << 6, SIDE_BY_SIDE, K);
    w += bytes;
    out += 64;
  }
  w += <usize>each * (SIDE_BY_SIDE - 1) * bytes;
  out += <usize>each * (SIDE_BY_SIDE - 1) << 6;
  somePanels<F>(q, scales, sums, w, bytes, out, 64, panels % SIDE_BY_SIDE, K);
}

/** Panels that lie `step` bytes apart, in turns block by block: memory gives more to several readers that are far apart. */
function somePanels<F>(
  q: usize, scales: usize, sums: usize, w: usize, step: usize, out: usize, outStep: usize, panels: i32, K: i32,
): void {
  clearRows(out, outStep, panels);
  let block = headBytes<F>();
  for (let k = 0; k < K; k += BLOCK) {
    for (let i: usize = 0; i < <usize>panels; i++) addBlock<F>(q, scales, sums, w + i * step, w + i * step + block, out + i * outStep);
    block += blockBytes<F>();
    q += BLOCK;
    scales += 4;
    sums += sumBytes<F>();
  }
}

/** Adds the block at w of one panel. */
function addBlock<F>(q: usize, scales: usize, sums: usize, panel: usize, w: usize, out: usize): void {
  let t0 = offsetsOf<F>(w, 0), t1 = offsetsOf<F>(w, 1), t2 = offsetsOf<F>(w, 2), t3 = offsetsOf<F>(w, 3);
  const parts = <usize>(BLOCK / partInputs<F>());
  let codes = w + codesAt<F>();
  for (let part: usize = 0; part < parts; part++) {
    const n0 = partNumbers<F>(w, part, 0), n1 = partNumbers<F>(w, part, 1);
    const n2 = partNumbers<F>(w, part, 2), n3 = partNumbers<F>(w, part, 3);
    const sum = isSigned<F>() || hasMinima<F>() ? i32x4.splat(0) : v128.load32_splat(sums + (part << 2));
    let a0 = startOf<F>(n0, sum), a1 = startOf<F>(n1, sum), a2 = startOf<F>(n2, sum), a3 = startOf<F>(n3, sum);
    // One unit is no loop: V8 would keep the sums in memory around it.
    const units = partInputs<F>() / unitInputs<F>();
    for (let unit = 0; unit < units; unit++) {
      a0 = addUnit<F>(q, codes, 0, a0);
      a1 = addUnit<F>(q, codes, 1, a1);
      a2 = addUnit<F>(q, codes, 2, a2);
      a3 = addUnit<F>(q, codes, 3, a3);
      codes += unitBytes<F>();
      q += unitInputs<F>();
      if (units == 1) break;
    }
    t0 = madd(f32x4.convert_i32x4_s(a0), scaleOf<F>(panel, n0, 0), t0);
    t1 = madd(f32x4.convert_i32x4_s(a1), scaleOf<F>(panel, n1, 1), t1);
    t2 = madd(f32x4.convert_i32x4_s(a2), scaleOf<F>(panel, n2, 2), t2);
    t3 = madd(f32x4.convert_i32x4_s(a3), scaleOf<F>(panel, n3, 3), t3);
  }
  if (hasFactor<F>()) {
    t0 = scaled<F>(panel, w, sums, 0, t0);
    t1 = scaled<F>(panel, w, sums, 1, t1);
    t2 = scaled<F>(panel, w, sums, 2, t2);
    t3 = scaled<F>(panel, w, sums, 3, t3);
  }
  addScaledRow(out, v128.load32_splat(scales), t0, t1, t2, t3);
}

/** Adds four vectors of 16 outputs to a row. */
// @ts-ignore: decorator
@inline
export function addScaledRow(out: usize, scale: v128, a: v128, b: v128, c: v128, d: v128): void {
  const y0 = v128.load(out), y1 = v128.load(out, 16), y2 = v128.load(out, 32), y3 = v128.load(out, 48);
  store16(out, madd(a, scale, y0), madd(b, scale, y1), madd(c, scale, y2), madd(d, scale, y3));
}

/** A block's sum times its factor, and its minima. */
// @ts-ignore: decorator
@inline
function scaled<F>(panel: usize, block: usize, sums: usize, v: usize, sum: v128): v128 {
  const factor = factorOf<F>(panel, block, v);
  if (!hasMinima<F>()) return f32x4.mul(sum, factor);
  const minima = wordsAt(minimaAt(block), v);
  const even = v128.and(minima, constant(EVEN_BYTES)), odd = v128.and(i32x4.shr_u(minima, 8), constant(EVEN_BYTES));
  const minimum = minimumSum(even, odd, v128.load32_splat(sums), v128.load32_splat(sums, 4));
  return madd(sum, factor, f32x4.mul(minimum, minimumFactorOf(panel, block, v)));
}

/** Adds the products of a unit's inputs with the codes of four outputs. */
// @ts-ignore: decorator
@inline
function addUnit<F>(q: usize, codes: usize, v: usize, sum: v128): v128 {
  sum = dotOf<F>(codesOf<F>(codes, 0, v), v128.load32_splat(q), sum);
  sum = dotOf<F>(codesOf<F>(codes, 1, v), v128.load32_splat(q, 4), sum);
  sum = dotOf<F>(codesOf<F>(codes, 2, v), v128.load32_splat(q, 8), sum);
  sum = dotOf<F>(codesOf<F>(codes, 3, v), v128.load32_splat(q, 12), sum);
  if (unitInputs<F>() == 16) return sum;
  sum = dotOf<F>(codesOf<F>(codes, 4, v), v128.load32_splat(q, 16), sum);
  sum = dotOf<F>(codesOf<F>(codes, 5, v), v128.load32_splat(q, 20), sum);
  sum = dotOf<F>(codesOf<F>(codes, 6, v), v128.load32_splat(q, 24), sum);
  return dotOf<F>(codesOf<F>(codes, 7, v), v128.load32_splat(q, 28), sum);
}

/** Adds products of signed bytes with bytes of 7 bits, whichever of weights and activations are which. */
// @ts-ignore: decorator
@inline
export function dotOf<F>(codes: v128, x: v128, sum: v128): v128 {
  return isSigned<F>() ? dot4(codes, x, sum) : dot4(x, codes, sum);
}
