// The inner loops of products in each form: what the backend tries before it compiles the products in the quickest. Memory
// is as products take it, and zeros will do. `times` is at least 1.

import { floatTile } from '../linear-float';
import { pairIn, tile } from '../linear-int8';
import { DOT, PAIRS } from '../products/form';

/** Inputs that a call's rows and weights have. */
const INPUTS: i32 = 256;
/** Blocks of that many inputs, and bytes from row to row of the results. */
const BLOCKS: i32 = 2, OUT_STRIDE: usize = 64;

/** float32, six rows and 16 outputs. */
export function floats(x: usize, w: usize, out: usize, times: i32): void {
  do floatTile(4, 6, x, w, out, OUT_STRIDE, INPUTS); while (--times);
}

/** The same, 8 outputs after the others. */
export function floatsNarrow(x: usize, w: usize, out: usize, times: i32): void {
  do floatTile(2, 6, x, w, out, OUT_STRIDE, INPUTS); while (--times);
}

/** int8, six rows and 16 outputs. */
export function dot(x: usize, w: usize, out: usize, times: i32): void {
  do tile(DOT, 4, 6, x, x, 0, BLOCKS, w, out, OUT_STRIDE); while (--times);
}

export function dotNarrow(x: usize, w: usize, out: usize, times: i32): void {
  do tile(DOT, 2, 6, x, x, 0, BLOCKS, w, out, OUT_STRIDE); while (--times);
}

/** int8, four rows and 16 outputs. */
export function pairs(x: usize, w: usize, out: usize, times: i32): void {
  do tile(PAIRS, 4, 4, x, x, 0, BLOCKS, w, out, OUT_STRIDE); while (--times);
}

/** int8, a row and 32 outputs. */
export function dotRow(x: usize, w: usize, out: usize, times: i32): void {
  do pairIn(DOT, x, x, BLOCKS, w, w, out, out); while (--times);
}

export function pairsRow(x: usize, w: usize, out: usize, times: i32): void {
  do pairIn(PAIRS, x, x, BLOCKS, w, w, out, out); while (--times);
}
