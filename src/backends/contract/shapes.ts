import { ShapeError } from '../../errors.ts';
import { formatShape, type Tensor } from '../../tensor/tensor.ts';

/** @throws ShapeError unless x has the expected shape; null accepts any extent. */
export function checkShape(x: Tensor, name: string, expected: readonly (number | null)[]): void {
  const fits =
    x.shape.length === expected.length && expected.every((extent, i) => extent === null || extent === x.shape[i]);
  if (!fits) {
    const wanted = `(${expected.map((extent) => extent ?? 'any').join(', ')})`;
    throw new ShapeError(`${name} has shape ${formatShape(x.shape)}; expected ${wanted}.`);
  }
}
