import { ShapeError } from '../../errors.ts';
import { type BlockFormat, blockRowBytes, fitsBlocks, type MatrixDType } from '../../tensor/block-formats.ts';
import type { WeightDType } from '../../tensor/dtype.ts';
import { formatShape, type Tensor } from '../../tensor/tensor.ts';

/** Matrix of a linear layer or embedding in a backend's own layout: (outFeatures, inFeatures), as checkpoints have it. */
export interface LinearWeight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly dtype: MatrixDType;
}

/** Takes a {@link LinearWeight} block of rows by block of rows, so that the whole matrix is never held as float32. */
export interface LinearWeightWriter {
  /**
   * Rows from `firstRow` on. Blocks come in any order; a row comes once.
   * @param values (n, inFeatures), row-major; may be reused after.
   * @throws ShapeError when they are not whole rows of the matrix.
   */
  writeRows(firstRow: number, values: Float32Array): void;
  /** The matrix; rows that were not written are zeros. Nothing may be written afterwards. */
  finish(): LinearWeight;
}

/** Takes the rows of a {@link LinearWeight} in blocks of codes and scales. */
export interface BlockWeightWriter {
  /**
   * Rows from `firstRow` on. Pieces come in any order; a row comes once.
   * @param blocks whole rows; may be reused after.
   * @throws ShapeError when they are not whole rows of the matrix.
   */
  writeBlocks(firstRow: number, blocks: Uint8Array): void;
  /** The matrix; rows that were not written are zeros. Nothing may be written afterwards. */
  finish(): LinearWeight;
}

/** Linear layers and embeddings. */
export interface LinearOps {
  /** Formats whose codes and scales the backend keeps, in a layout of its own. Absent: none. */
  readonly blockFormats?: ReadonlySet<BlockFormat> | undefined;

  /** Makes a matrix (outFeatures, inFeatures) of blocks that are yet to come, in one of {@link blockFormats}. */
  blockWeightWriter?(outFeatures: number, inFeatures: number, format: BlockFormat): BlockWeightWriter;

  /**
   * Makes the matrices of one kind of all experts of a mixture, which only `fusedMoe` takes, all together: like
   * {@link expertWeightWriters}, of blocks.
   */
  expertBlockWriters?(count: number, outFeatures: number, inFeatures: number, format: BlockFormat): BlockWeightWriter[];

  /** Makes a matrix (outFeatures, inFeatures) in the backend's layout, rounded to `dtype`, of rows that are yet to come. */
  linearWeightWriter(outFeatures: number, inFeatures: number, dtype: WeightDType): LinearWeightWriter;

  /**
   * Makes the matrices of one kind of all experts of a mixture, which only `fusedMoe` takes, all together. Absent: the
   * backend gains nothing from writing them together.
   */
  expertWeightWriters?(
    count: number,
    outFeatures: number,
    inFeatures: number,
    dtype: WeightDType,
  ): LinearWeightWriter[];

  /** A matrix whose rows are all there. `weight` may be reused after. */
  linearWeight(weight: Float32Array, outFeatures: number, inFeatures: number, dtype: WeightDType): LinearWeight;

  /** y = x Wᵀ + bias. x (T, in), W (out, in), bias (out) → (T, out). Each output sums over `in` in ascending order. */
  linear(x: Tensor, weight: LinearWeight, bias?: Tensor): Tensor;

  /**
   * Rows of a table by id: ids (T) int32, table (rows, C) → (T, C). The table holds ids [firstRow, firstRow + rows);
   * other ids give a row of zeros, so that ranks that hold parts of a vocabulary can sum their results.
   */
  embedding(ids: Tensor, table: LinearWeight, firstRow?: number): Tensor;
}

/** @throws ShapeError unless the values are whole rows of an (outFeatures, inFeatures) matrix, from `firstRow` on. */
export function checkWeightRows(
  length: number,
  firstRow: number,
  { outFeatures, inFeatures }: { readonly outFeatures: number; readonly inFeatures: number },
): void {
  const rows = inFeatures === 0 ? 0 : length / inFeatures;
  const areWhole = Number.isInteger(rows) && Number.isInteger(firstRow) && (inFeatures > 0 || length === 0);
  if (areWhole && firstRow >= 0 && firstRow + rows <= outFeatures) return;
  throw new ShapeError(
    `${length} values from row ${firstRow} on are not rows of ${formatShape([outFeatures, inFeatures])}.`,
  );
}

/** @throws ShapeError unless rows of so many values can be kept in blocks. */
export function checkBlockColumns(inFeatures: number, format: BlockFormat): void {
  if (fitsBlocks(format, inFeatures)) return;
  throw new ShapeError(`Rows of ${inFeatures} values are no whole blocks of ${format}.`);
}

/** @throws ShapeError unless the bytes are whole rows of an (outFeatures, inFeatures) matrix of blocks, from `firstRow` on. */
export function checkBlockRows(
  bytes: number,
  firstRow: number,
  { outFeatures, inFeatures }: { readonly outFeatures: number; readonly inFeatures: number },
  format: BlockFormat,
): void {
  const rows = bytes / blockRowBytes(format, inFeatures);
  if (Number.isInteger(rows) && Number.isInteger(firstRow) && firstRow >= 0 && firstRow + rows <= outFeatures) return;
  throw new ShapeError(
    `${bytes} bytes from row ${firstRow} on are not rows of ${formatShape([outFeatures, inFeatures])} in ${format}.`,
  );
}
