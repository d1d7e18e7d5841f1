import type { Backend } from '../backends/backend.ts';
import { ReferenceBackend } from '../backends/reference/reference-backend.ts';
import { UnsupportedDeviceError } from '../errors.ts';
import { BlockwiseQuantization, type QuantizationConfig } from '../layers/quantization.ts';
import { parseWeightDType, type WeightDType } from '../tensor/dtype.ts';

/** Where a model runs. `auto` and `cpu` take the best backend for the processor. */
export const DEVICES = ['auto', 'cpu', 'reference'] as const;
export type Device = (typeof DEVICES)[number];

/** @throws UnsupportedDeviceError */
export function createBackend(device: string): Backend {
  if (!DEVICES.some((known) => known === device)) {
    throw new UnsupportedDeviceError(`Unknown device '${device}'.`, `Use one of: ${DEVICES.join(', ')}.`);
  }
  return new ReferenceBackend();
}

/** How linear weights are stored for a requested dtype; `auto` keeps what the checkpoint holds. */
export interface WeightStorage {
  readonly weightDType: WeightDType;
  readonly quantConfig: QuantizationConfig | undefined;
}

/** @throws UnsupportedDTypeError */
export function weightStorage(dtype: string, checkpointDType: WeightDType): WeightStorage {
  const weightDType = dtype === 'auto' ? checkpointDType : parseWeightDType(dtype);
  if (weightDType === 'int8' || weightDType === 'int4') {
    return { weightDType: checkpointDType, quantConfig: new BlockwiseQuantization(weightDType) };
  }
  return { weightDType, quantConfig: undefined };
}
