// One row of x: a block's codes meet it as they are, and nothing is spelled out.

import { clearRows } from '../linear-int8';
import { store16 } from '../linear-float';
import { madd } from '../math';
import { BLOCK, dot4 } from '../quantized';
import { sumBytes } from './activations';
import { codesOf, planesOf, UNIT, unitBytes } from './codes';
import {
  blockBytes, codesAt, constant, EVEN_BYTES, factorOf, hasByteScales, hasMinima, headBytes, isSigned, minimaAt, minimumFactorOf, minimumSum,
  panelBytes, partInputs, partWords, planesAt, scaleOf, startOf, wordsAt,
} from './formats';

/** Panels that the row passes side by side. */
const SIDE_BY_SIDE: i32 = 8;

/** Arguments as those of linearBlocks. */
export function oneRow<F>(q: usize, scales: usize, sums: usize, w: usize, out: usize, panels: i32, K: i32): void {
  const bytes = panelBytes<F>(K);
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
  let t0 = f32x4.splat(0), t1 = t0, t2 = t0, t3 = t0;
  if (hasMinima<F>()) {
    const even = v128.load32_splat(sums), odd = v128.load32_splat(sums, 4);
    t0 = minimaOf(panel, w, 0, even, odd);
    t1 = minimaOf(panel, w, 1, even, odd);
    t2 = minimaOf(panel, w, 2, even, odd);
    t3 = minimaOf(panel, w, 3, even, odd);
  }
  const d0 = factorOf<F>(panel, w, 0), d1 = factorOf<F>(panel, w, 1), d2 = factorOf<F>(panel, w, 2), d3 = factorOf<F>(panel, w, 3);
  const parts = <usize>(BLOCK / partInputs<F>());
  let codes = w + codesAt<F>();
  let unit: usize = 0;
  for (let part: usize = 0; part < parts; ) {
    let n0 = partWords<F>(w, part, 0), n1 = partWords<F>(w, part, 1), n2 = partWords<F>(w, part, 2), n3 = partWords<F>(w, part, 3);
    const end = part + (hasByteScales<F>() ? 4 : 1);
    for (; part < end; part++) {
      const sum = isSigned<F>() || hasMinima<F>() ? i32x4.splat(0) : v128.load32_splat(sums + (part << 2));
      let a0 = startOf<F>(w, part, 0, n0, sum), a1 = startOf<F>(w, part, 1, n1, sum);
      let a2 = startOf<F>(w, part, 2, n2, sum), a3 = startOf<F>(w, part, 3, n3, sum);
      // A part is one unit, or pairs of them.
      const partEnd = q + partInputs<F>();
      while (q < partEnd) {
        const planes = planesOf<F>(w + planesAt<F>(), unit);
        a0 = addUnit<F>(q, codes, planes, false, a0);
        a1 = addUnit<F>(q, codes + 16, planes + 16, false, a1);
        a2 = addUnit<F>(q, codes + 32, planes + 32, false, a2);
        a3 = addUnit<F>(q, codes + 48, planes + 48, false, a3);
        codes += unitBytes<F>();
        q += UNIT;
        unit++;
        if (partInputs<F>() > UNIT) {
          a0 = addUnit<F>(q, codes, planes, true, a0);
          a1 = addUnit<F>(q, codes + 16, planes + 16, true, a1);
          a2 = addUnit<F>(q, codes + 32, planes + 32, true, a2);
          a3 = addUnit<F>(q, codes + 48, planes + 48, true, a3);
          codes += unitBytes<F>();
          q += UNIT;
          unit++;
        }
      }
      t0 = madd(f32x4.convert_i32x4_s(a0), scaleOf<F>(n0, d0), t0);
      t1 = madd(f32x4.convert_i32x4_s(a1), scaleOf<F>(n1, d1), t1);
      t2 = madd(f32x4.convert_i32x4_s(a2), scaleOf<F>(n2, d2), t2);
      t3 = madd(f32x4.convert_i32x4_s(a3), scaleOf<F>(n3, d3), t3);
      if (hasByteScales<F>()) {
        n0 = i32x4.shr_u(n0, 8);
        n1 = i32x4.shr_u(n1, 8);
        n2 = i32x4.shr_u(n2, 8);
        n3 = i32x4.shr_u(n3, 8);
      }
    }
  }
  const xScale = v128.load32_splat(scales);
  const y0 = v128.load(out), y1 = v128.load(out, 16), y2 = v128.load(out, 32), y3 = v128.load(out, 48);
  store16(out, madd(t0, xScale, y0), madd(t1, xScale, y1), madd(t2, xScale, y2), madd(t3, xScale, y3));
}

// @ts-ignore: decorator
@inline
function minimaOf(panel: usize, block: usize, v: usize, even: v128, odd: v128): v128 {
  const minima = wordsAt(minimaAt(block), v);
  const evenMinima = v128.and(minima, constant(EVEN_BYTES)), oddMinima = v128.and(i32x4.shr_u(minima, 8), constant(EVEN_BYTES));
  return minimumSum(evenMinima, oddMinima, even, odd, minimumFactorOf(panel, block, v));
}

/** Adds the products of 16 inputs with the codes of four outputs. */
// @ts-ignore: decorator
@inline
function addUnit<F>(q: usize, codes: usize, planes: usize, second: bool, sum: v128): v128 {
  sum = dotOf<F>(codesOf<F>(codes, planes, second, 0), v128.load32_splat(q), sum);
  sum = dotOf<F>(codesOf<F>(codes, planes, second, 1), v128.load32_splat(q, 4), sum);
  sum = dotOf<F>(codesOf<F>(codes, planes, second, 2), v128.load32_splat(q, 8), sum);
  return dotOf<F>(codesOf<F>(codes, planes, second, 3), v128.load32_splat(q, 12), sum);
}

/** Adds products of signed bytes with bytes of 7 bits, whichever of weights and activations are which. */
// @ts-ignore: decorator
@inline
export function dotOf<F>(codes: v128, x: v128, sum: v128): v128 {
  return isSigned<F>() ? dot4(codes, x, sum) : dot4(x, codes, sum);
}
