import { ArgumentError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';

/** Operations on whole rows: picked, added, scaled. */
export interface RowOps {
  /** The rows of x (T, C) that rows (R) int32 names, in that order → (R, C). */
  gatherRows(x: Tensor, rows: Tensor): Tensor;

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
