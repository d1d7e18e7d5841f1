import type { Backend } from '../../backends/contract/backend.ts';
import { CpuBackend } from '../../backends/cpu/cpu-backend.ts';
import type { CompiledKernels } from '../../backends/cpu/kernels/kernels.ts';
import { fastestKernels, loadKernels } from '../../backends/cpu/kernels/load-kernels.ts';
import { ReferenceBackend } from '../../backends/reference/reference-backend.ts';
import { UnsupportedDeviceError } from '../../errors.ts';
import { BlockwiseQuantization, type QuantizationConfig } from '../../layers/parameters/quantization.ts';
import { parseWeightDType, type WeightDType } from '../../tensor/dtype.ts';

/**
 * Where a model runs: `cpu` is WebAssembly SIMD, `webgpu` a GPU, `reference` plain TypeScript. `auto` takes what should be
 * fastest: see {@link chooseDevice}.
 */
export const DEVICES = ['auto', 'cpu', 'webgpu', 'reference'] as const;
export type Device = (typeof DEVICES)[number];
/** A device that was decided on. */
export type ChosenDevice = Exclude<Device, 'auto'>;

/** @throws UnsupportedDeviceError when there is no such device. */
export function checkDevice(device: string): void {
  if (DEVICES.some((known) => known === device)) return;
  throw new UnsupportedDeviceError(`Unknown device '${device}'.`, `Use one of: ${DEVICES.join(', ')}.`);
}

/**
 * What a device needs compiled: once for all ranks, in the thread that starts them.
 * @throws UnsupportedDeviceError when there is no such device, or it can't run here.
 */
export function compileForDevice(device: string): CompiledKernels | undefined {
  checkDevice(device);
  return device === 'auto' || device === 'cpu' ? fastestKernels() : undefined;
}

/**
 * @param device `auto` is `cpu` here: whoever can choose has done it before.
 * @param compiled from {@link compileForDevice}.
 * @throws UnsupportedDeviceError
 */
export async function createBackend(device: string, compiled = compileForDevice(device)): Promise<Backend> {
  if (device === 'webgpu') {
    // Loaded on need: few have it.
    const { createWebGpuBackend } = await import('../../backends/webgpu/create-backend.ts');
    return createWebGpuBackend();
  }
  return compiled ? new CpuBackend(loadKernels(compiled)) : new ReferenceBackend();
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
