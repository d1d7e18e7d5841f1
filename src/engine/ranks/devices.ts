import type { Backend } from '../../backends/contract/backend.ts';
import { CpuBackend } from '../../backends/cpu/cpu-backend.ts';
import type { CompiledKernels } from '../../backends/cpu/kernels/kernels.ts';
import type { CpuKernels } from '../../backends/cpu/kernels/product-forms.ts';
import { fastestKernels, loadKernels } from '../../backends/cpu/load-kernels.ts';
import { CPU_BLOCK_FORMATS, isCodeFormat } from '../../backends/cpu/memory/block-weight.ts';
import { CUDA_BLOCK_FORMATS } from '../../backends/cuda/block-formats.ts';
import { ReferenceBackend } from '../../backends/reference/reference-backend.ts';
import { WEBGPU_BLOCK_FORMATS } from '../../backends/webgpu/linear/pack-blocks.ts';
import type { ProcessGroup } from '../../distributed/process-group.ts';
import { UnsupportedDeviceError } from '../../errors.ts';
import type { BlockFormat } from '../../tensor/block-formats.ts';
import type { MatmulPrecision } from '../../tensor/matmul-precision.ts';

/**
 * Devices that a model can run on: `cpu` is WebAssembly SIMD, `webgpu` a GPU, `cuda` an NVIDIA GPU through its driver,
 * `reference` plain TypeScript. `auto` takes the one that should be fastest: see `chooseDevice`.
 */
export const DEVICES = ['auto', 'cpu', 'webgpu', 'cuda', 'reference'] as const;
export type Device = (typeof DEVICES)[number];
/** A device that was decided on. */
export type ChosenDevice = Exclude<Device, 'auto'>;

/** The device of a name. @throws UnsupportedDeviceError where there is no such device. */
export function parseDevice(name: string): Device {
  const device = DEVICES.find((known) => known === name);
  if (device !== undefined) return device;
  throw new UnsupportedDeviceError(`Unknown device '${name}'.`, `Use one of: ${DEVICES.join(', ')}.`);
}

/** Whether a device is a GPU, which is one rank, and computes while the thread that asks it goes on. */
export function isGpu(device: Device): device is 'webgpu' | 'cuda' {
  return device === 'webgpu' || device === 'cuda';
}

/**
 * Kernels that a device needs, compiled once for all ranks in the thread that starts them.
 * @param formats of weights that are kept in blocks.
 * @param cpuKernels form of products on the processor.
 * @throws UnsupportedDeviceError where the device can't run here.
 */
export function compileForDevice(
  device: ChosenDevice,
  formats: Iterable<BlockFormat> = [],
  cpuKernels?: CpuKernels,
): CompiledKernels | undefined {
  return device === 'cpu' ? fastestKernels([...formats].filter(isCodeFormat), cpuKernels) : undefined;
}

/** Formats whose blocks a device keeps as a file holds them. */
export function keptFormats(device: ChosenDevice): ReadonlySet<BlockFormat> | undefined {
  if (device === 'webgpu') return WEBGPU_BLOCK_FORMATS;
  if (device === 'cuda') return CUDA_BLOCK_FORMATS;
  return device === 'cpu' ? CPU_BLOCK_FORMATS : undefined;
}

/**
 * The backend that runs on a device.
 * @param compiled result of {@link compileForDevice}.
 * @param group that the backend is a rank of; GPUs join theirs here.
 * @param matmulPrecision that products may have on `cuda`; others are as exact as with `high`.
 * @throws UnsupportedDeviceError
 */
export async function createBackend(
  device: ChosenDevice,
  compiled = compileForDevice(device),
  group?: ProcessGroup,
  matmulPrecision?: MatmulPrecision,
): Promise<Backend> {
  if (device === 'webgpu') {
    // Imported on need: few programs use it.
    const { createWebGpuBackend } = await import('../../backends/webgpu/create-backend.ts');
    return createWebGpuBackend();
  }
  if (device === 'cuda') {
    const { createCudaBackend } = await import('../../backends/cuda/create-backend.ts');
    return createCudaBackend({ group, matmulPrecision });
  }
  return compiled ? new CpuBackend(loadKernels(compiled)) : new ReferenceBackend();
}
