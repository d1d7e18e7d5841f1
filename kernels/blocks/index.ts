// Everything that the CPU backend calls for weights in one format of files. The build makes a module for each format, with
// its name instead of Q8_0: a model has one or two of them, and need not wait until the others are compiled. Addresses and
// strides are in bytes; counts are in elements.

import { quantizeFor } from './activations';
import { panelBytesOf, Q8_0 as Format } from './formats';
import { packRows, unpackRows } from './panels';
import { linearOf, SPELLED_BYTES } from './product';
import { BLOCK } from '../quantized';

/** Bytes of a panel of K inputs. */
export function panelBytes(K: i32): usize {
  return panelBytesOf<Format>(K);
}

/**
 * `count` rows of K inputs, a multiple of the format's blocks, one after another from `rows` on → panels, from row
 * `firstRow` on.
 */
export function pack(rows: usize, count: i32, K: i32, w: usize, firstRow: i32): void {
  packRows<Format>(rows, count, K, w, firstRow);
}

/** As embeddingRows of ../pack.ts, of a table in panels. */
export function embedding(
  ids: usize, count: i32, firstRow: i32, tableRows: i32, w: usize, K: i32, out: usize, outStride: usize,
): void {
  unpackRows<Format>(ids, count, firstRow, tableRows, w, K, out, outStride);
}

/** Rows of activations as {@link linear} takes them. */
export function quantize(x: usize, xStride: usize, q: usize, scales: usize, sums: usize, rows: i32, K: i32): void {
  quantizeFor<Format>(x, xStride, q, scales, sums, rows, K);
}

/** Scratch memory for {@link linear}. */
export function linearScratch(K: i32): usize {
  return SPELLED_BYTES * <usize>((K + BLOCK - 1) / BLOCK);
}

/** y = x Wᵀ. q, scales and sums are those of {@link quantize}, w are panels of {@link pack}, K is a multiple of 128. */
export function linear(
  q: usize, scales: usize, sums: usize, w: usize, out: usize, outStride: usize, rows: i32, panels: i32, K: i32, scratch: usize,
): void {
  linearOf<Format>(q, scales, sums, w, out, outStride, rows, panels, K, scratch);
}
