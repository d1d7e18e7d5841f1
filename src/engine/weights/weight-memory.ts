import { isMatrixRole, type ParameterTable } from '../../layers/parameters/parameter.ts';
import { type MatrixDType, matrixRowBytes } from '../../tensor/block-formats.ts';
import { WEIGHT_DTYPES, type WeightDType } from '../../tensor/dtype.ts';
import { elementCount } from '../../tensor/tensor.ts';

/** Memory of all weights in each dtype. Matrices of embeddings and linear layers take it; the rest stays float32. */
export function memoryByDType(table: ParameterTable): Record<WeightDType, number> {
  const bytes = WEIGHT_DTYPES.map((dtype) => [
    dtype,
    table.names().reduce((sum, name) => sum + bytesOf(table, name, dtype), 0),
  ]);
  return Object.fromEntries(bytes);
}

/** Memory of all weights in the storage that each of them has. */
export function memoryInStorage(table: ParameterTable): number {
  return table.names().reduce((sum, name) => sum + bytesOf(table, name, table.dtype(name)), 0);
}

function bytesOf(table: ParameterTable, name: string, dtype: MatrixDType): number {
  const shape = table.shape(name);
  if (!isMatrixRole(table.role(name))) return elementCount(shape) * 4;
  const columns = shape[shape.length - 1];
  return (elementCount(shape) / columns) * matrixRowBytes(dtype, columns);
}
