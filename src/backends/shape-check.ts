import { ArgumentError, ShapeError } from '../errors.ts';
import { elementCount, formatShape, type Tensor } from '../tensor/tensor.ts';

/** @throws ShapeError unless x has the expected shape; null accepts any extent. */
export function checkShape(x: Tensor, name: string, expected: readonly (number | null)[]): void {
  const fits =
    x.shape.length === expected.length && expected.every((extent, i) => extent === null || extent === x.shape[i]);
  if (!fits) {
    const wanted = `(${expected.map((extent) => extent ?? 'any').join(', ')})`;
    throw new ShapeError(`${name} has shape ${formatShape(x.shape)}; expected ${wanted}.`);
  }
}

/** @throws ShapeError unless as many values were given as the shape has elements. */
export function checkLength(length: number, shape: readonly number[]): void {
  if (length === elementCount(shape)) return;
  throw new ShapeError(`${length} values are not a tensor of shape ${formatShape(shape)}.`);
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

/** @throws ShapeError unless the sizes sum to x's columns. */
export function checkColumnSizes(x: Tensor, sizes: readonly number[]): void {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  if (total === x.shape[1]) return;
  throw new ShapeError(`Columns of ${sizes.join(' + ')} = ${total} can't be split off ${formatShape(x.shape)}.`);
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
    `Tensors of shapes ${parts.map(({ shape }) => formatShape(shape)).join(', ') || 'none'} were put side by side.`,
    'They have two dimensions and as many rows as each other.',
  );
}

/** @throws ShapeError unless [begin, end) are rows of x. */
export function checkRowRange(x: Tensor, begin: number, end: number): void {
  const areWhole = Number.isInteger(begin) && Number.isInteger(end);
  if (areWhole && begin >= 0 && begin <= end && end <= x.shape[0]) return;
  throw new ShapeError(`Rows ${begin} to ${end} of a tensor of shape ${formatShape(x.shape)} were asked for.`);
}

/** @throws ShapeError unless x's elements can be read under the shape. */
export function checkReshape(x: Tensor, shape: readonly number[]): void {
  if (shape[0] === x.shape[0] && elementCount(shape) === elementCount(x.shape)) return;
  throw new ShapeError(
    `A tensor of shape ${formatShape(x.shape)} can't be read as ${formatShape(shape)}.`,
    'Keep the first extent and the number of elements.',
  );
}

/** @throws ArgumentError unless the state has such a slot. */
export function checkSlot(state: Tensor, slot: number): void {
  if (Number.isInteger(slot) && slot >= 0 && slot < state.shape[0]) return;
  throw new ArgumentError(`Slot ${slot} of a state of ${state.shape[0]} slots.`);
}
