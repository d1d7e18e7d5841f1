import { ArgumentError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';

/** Operations on whole rows: picked, put in their places, added, scaled. */
export interface RowOps {
  /** The rows of x (T, C) that rows (R) int32 names, in that order → (R, C). */
  gatherRows(x: Tensor, rows: Tensor): Tensor;

  /** Writes row i of x (R, C) over row rows[i] of `into` (T, C). rows is (R) int32, and names no row twice. */
  scatterRows(x: Tensor, rows: Tensor, into: Tensor): void;

  /** x + y, both (T, C). */
  add(x: Tensor, y: Tensor): Tensor;

  /** x (T, C) times a number. */
  mulScalar(x: Tensor, factor: number): Tensor;

  /** Every row of x (T, C) times v (C), element by element. */
  mulColumns(x: Tensor, v: Tensor): Tensor;
}

/** @throws ArgumentError on a row that a tensor of T rows does not have. */
export function checkRowNumbers(rows: Int32Array, T: number): void {
  for (const row of rows) {
    if (row < 0 || row >= T) throw new ArgumentError(`There is no row ${row} in a tensor of ${T} rows.`);
  }
}

/** @throws ArgumentError on a row that a tensor of T rows does not have, or that is named twice. */
export function checkDistinctRows(rows: Int32Array, T: number): void {
  checkRowNumbers(rows, T);
  if (new Set(rows).size === rows.length) return;
  throw new ArgumentError(`The rows [${rows.join(', ')}] name one twice.`, 'Each row is written once.');
}
