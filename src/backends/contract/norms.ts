import { ArgumentError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';

/** The columns of a whole row that a rank holds, and the row's groups for a grouped norm. */
export interface GroupLayout {
  /** Position of the rank's first column in the whole row. */
  readonly firstColumn: number;
  /** Columns per group; group g covers columns [g * groupSize, (g + 1) * groupSize) of the whole row. */
  readonly groupSize: number;
}

/** Norms over whole rows or groups of columns, in pieces that ranks can exchange sums between. */
export interface NormOps {
  /** x / sqrt(mean(x²) + eps) * weight, per row. x (T, C), weight (C). */
  rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor;

  /** x * silu(z), silu(z) = z / (1 + exp(-z)). Both (T, C). */
  siluGate(x: Tensor, z: Tensor): Tensor;

  /** Per row and group, the sum of squares over the columns held here. v (T, C) → (T, groups); absent groups are 0. */
  groupSquareSums(v: Tensor, groups: number, layout: GroupLayout): Tensor;

  /**
   * v / sqrt(squareSums / groupSize + eps) * weight with each column's group. v (T, C), squareSums (T, groups) over the
   * whole row, weight (C).
   */
  scaleByGroupNorm(v: Tensor, squareSums: Tensor, weight: Tensor, eps: number, layout: GroupLayout): Tensor;

  /** x / sqrt(squareSums / count + eps), per row: what scaleByGroupNorm does with one group. x (T, C), squareSums (T, 1). */
  scaleRows(x: Tensor, squareSums: Tensor, count: number, eps: number): Tensor;
}

/** @throws ArgumentError unless a rank's columns lie within the groups of the whole row. */
export function checkGroups(C: number, groups: number, { firstColumn, groupSize }: GroupLayout): void {
  if (groupSize >= 1 && firstColumn >= 0 && firstColumn + C <= groups * groupSize) return;
  throw new ArgumentError(
    `Columns ${firstColumn} to ${firstColumn + C} do not fit ${groups} groups of ${groupSize}.`,
    'The groups cover the whole row.',
  );
}
