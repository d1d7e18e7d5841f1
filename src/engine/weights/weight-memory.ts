import { isMatrixRole, type ParameterTable } from '../../layers/parameters/parameter.ts';
import { WEIGHT_DTYPES, type WeightDType } from '../../tensor/dtype.ts';
import { weightBytes } from '../../tensor/quantize.ts';
import { elementCount } from '../../tensor/tensor.ts';

/** Memory of all weights in each dtype. Matrices of embeddings and linear layers take it; the rest stays float32. */
export function memoryByDType(table: ParameterTable): Record<WeightDType, number> {
  const bytes = WEIGHT_DTYPES.map((dtype) => [
    dtype,
    table.names().reduce((sum, name) => sum + bytesOf(table, name, dtype), 0),
  ]);
  return Object.fromEntries(bytes);
}

function bytesOf(table: ParameterTable, name: string, dtype: WeightDType): number {
  const shape = table.shape(name);
  if (!isMatrixRole(table.role(name))) return elementCount(shape) * 4;
  const columns = shape[shape.length - 1];
  return weightBytes(elementCount(shape) / columns, columns, dtype);
}
