import { BlockwiseQuantization, type QuantizationConfig } from '../../layers/parameters/quantization.ts';
import type { DTypeSetting, WeightDType } from '../../tensor/dtype.ts';

/** Storage of a model's weights in memory. */
export interface WeightStorage {
  /** Dtype of matrices that `quantConfig` leaves alone. */
  readonly weightDType: WeightDType;
  readonly quantConfig: QuantizationConfig | undefined;
  /** Dtype of the projections, which are nearly all of a model's weights. */
  readonly matrixDType: WeightDType;
}

/** @param stored dtype of the weights in their files, which `auto` keeps. */
export function weightStorage(dtype: DTypeSetting, stored: WeightDType): WeightStorage {
  const matrixDType = dtype === 'auto' ? stored : dtype;
  if (matrixDType === 'int8' || matrixDType === 'int4') {
    return { weightDType: stored, quantConfig: new BlockwiseQuantization(matrixDType), matrixDType };
  }
  return { weightDType: matrixDType, quantConfig: undefined, matrixDType };
}
