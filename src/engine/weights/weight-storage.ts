import { BlockwiseQuantization, type QuantizationConfig } from '../../layers/parameters/quantization.ts';
import { type BlockFormat, isBlockFormat, type MatrixDType } from '../../tensor/block-formats.ts';
import type { StorageSetting, WeightDType } from '../../tensor/dtype.ts';
import { StoredFormats } from './stored-formats.ts';

/** Storage of a model's weights in memory. */
export interface WeightStorage<D extends MatrixDType = MatrixDType> {
  /** Dtype of matrices that `quantConfig` leaves alone. */
  readonly weightDType: WeightDType;
  readonly quantConfig: QuantizationConfig | undefined;
  /** Dtype of the projections, which are nearly all of a model's weights. */
  readonly matrixDType: D;
}

/** @param stored dtype of the weights in their files. */
export function weightStorage(dtype: StorageSetting, stored: WeightDType): WeightStorage<WeightDType> {
  const matrixDType = dtype === 'stored' ? stored : dtype;
  if (matrixDType === 'int8' || matrixDType === 'int4') {
    return { weightDType: stored, quantConfig: new BlockwiseQuantization(matrixDType), matrixDType };
  }
  return { weightDType: matrixDType, quantConfig: undefined, matrixDType };
}

/**
 * {@link weightStorage} of a checkpoint that has matrices in blocks, which `stored` keeps.
 * @param formats of the matrices by the model's own names; some may be stored as values.
 */
export function storageInBlocks(
  dtype: StorageSetting,
  stored: WeightDType,
  formats: ReadonlyMap<string, MatrixDType>,
): WeightStorage {
  if (dtype !== 'stored' || formats.size === 0) return weightStorage(dtype, stored);
  const matrixDType = mostFrequent([...formats.values()].filter(isBlockFormat)) ?? stored;
  return { weightDType: stored, quantConfig: new StoredFormats(formats), matrixDType };
}

function mostFrequent(formats: readonly BlockFormat[]): BlockFormat | undefined {
  const counts = new Map<BlockFormat, number>();
  for (const format of formats) counts.set(format, (counts.get(format) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a)[0]?.[0];
}
