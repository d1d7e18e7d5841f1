import { ShapeError } from '../../errors.ts';
import type { KvCacheDType } from '../../tensor/kv-cache-dtype.ts';
import type { StateDType } from '../../tensor/state-dtype.ts';
import { elementCount, formatShape, type Tensor } from '../../tensor/tensor.ts';

/** Tensors made, read, and seen under other shapes. */
export interface ArrayOps {
  /** A copy of host data. */
  tensor(data: Float32Array | Int32Array, shape: readonly number[]): Tensor;

  /**
   * Zeros. @param dtype of 16 bits for the SSM states (slots, H, P, N) that the state-space operations work on; others are
   * float32. Default: float32.
   */
  zeros(shape: readonly number[], dtype?: StateDType): Tensor;

  /**
   * Values that are not set yet: whatever the memory held.
   * @param dtype of 16 or 8 bits for the caches (blocks, blockSize, H, D) of keys and values; others are float32. Default:
   * float32.
   */
  empty(shape: readonly number[], dtype?: KvCacheDType): Tensor;

  /**
   * A copy of a float32 tensor, or of states, keys or values as float32, on the host, contiguous, once everything enqueued before has run.
   * @param reuse an array that is no longer needed: the copy may lie in its memory.
   */
  read(x: Tensor, reuse?: Float32Array<ArrayBuffer>): Promise<Float32Array<ArrayBuffer>>;

  /** Views of consecutive columns of x (T, C): sizes sum to C. */
  splitColumns(x: Tensor, sizes: readonly number[]): Tensor[];

  /** The columns of several tensors (T, Cᵢ) side by side: (T, ΣCᵢ). At least one. */
  concatColumns(parts: readonly Tensor[]): Tensor;

  /** A view of rows [begin, end) of x. */
  sliceRows(x: Tensor, begin: number, end: number): Tensor;

  /** A view of x's elements under another shape with the same first extent. */
  reshape(x: Tensor, shape: readonly number[]): Tensor;
}

/** @throws ShapeError unless as many values were given as the shape has elements. */
export function checkLength(length: number, shape: readonly number[]): void {
  if (length === elementCount(shape)) return;
  throw new ShapeError(`${length} values are not a tensor of shape ${formatShape(shape)}.`);
}

/** @throws ShapeError unless the sizes sum to x's columns. */
export function checkColumnSizes(x: Tensor, sizes: readonly number[]): void {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  if (total === x.shape[1]) return;
  throw new ShapeError(
    `Columns of ${sizes.join(' + ')} = ${total} do not make up a tensor of shape ${formatShape(x.shape)}.`,
  );
}

/**
 * The shape of the first of tensors that are put side by side.
 * @throws ShapeError unless there is one, and all have two dimensions and as many rows.
 */
export function checkConcat(parts: readonly Tensor[]): readonly number[] {
  if (parts.length > 0 && parts.every(({ shape }) => shape.length === 2 && shape[0] === parts[0].shape[0])) {
    return parts[0].shape;
  }
  throw new ShapeError(
    `Tensors of shapes ${parts.map(({ shape }) => formatShape(shape)).join(', ') || 'none'} can't be put side by side.`,
    'Pass tensors of two dimensions with the same number of rows.',
  );
}

/** @throws ShapeError unless [begin, end) are rows of x. */
export function checkRowRange(x: Tensor, begin: number, end: number): void {
  const areWhole = Number.isInteger(begin) && Number.isInteger(end);
  if (areWhole && begin >= 0 && begin <= end && end <= x.shape[0]) return;
  throw new ShapeError(`Rows ${begin} to ${end} are not rows of a tensor of shape ${formatShape(x.shape)}.`);
}

/** @throws ShapeError unless x's elements can be read under the shape. */
export function checkReshape(x: Tensor, shape: readonly number[]): void {
  if (shape[0] === x.shape[0] && elementCount(shape) === elementCount(x.shape)) return;
  throw new ShapeError(
    `A tensor of shape ${formatShape(x.shape)} can't be read as ${formatShape(shape)}.`,
    'Keep the first extent and the number of elements.',
  );
}
