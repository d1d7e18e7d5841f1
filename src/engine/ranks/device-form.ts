import type { CpuKernels } from '../../backends/cpu/kernels/product-forms.ts';
import { fastestKernels, loadKernels } from '../../backends/cpu/load-kernels.ts';
import { roundingOf } from '../../backends/cpu/rounding.ts';
import type { MatmulPrecision } from '../../tensor/matmul-precision.ts';
import { Hash } from '../../util/hash.ts';
import { VERSION } from '../../version.generated.ts';
import type { ChosenDevice } from './devices.ts';

/**
 * All that decides the bits that a device computes, besides the model: this library's version, the kernels, and how the
 * engine and the processor round. Machines of one form compute the same bits.
 * @param cpuKernels form of products that was asked for on the processor.
 * @param matmulPrecision that was asked for, which counts on `cuda`.
 */
export async function deviceForm(
  device: ChosenDevice,
  cpuKernels?: CpuKernels,
  matmulPrecision: MatmulPrecision = 'high',
): Promise<string> {
  return [VERSION, device, await formOf(device, cpuKernels, matmulPrecision)].join(' ');
}

async function formOf(
  device: ChosenDevice,
  cpuKernels: CpuKernels | undefined,
  matmulPrecision: MatmulPrecision,
): Promise<string> {
  if (device === 'cpu') {
    const kernels = fastestKernels([], cpuKernels);
    return `${kernels.variant} ${roundingOf(loadKernels(kernels))}`;
  }
  if (device === 'webgpu') {
    const { describeGpu } = await import('../../backends/webgpu/device/find-gpu.ts');
    const { vendor, architecture, device: name, description } = await describeGpu();
    return [vendor, architecture, name, description].join(' ');
  }
  if (device === 'cuda') {
    const { describeCuda } = await import('../../backends/cuda/device/cuda-info.ts');
    const { name, capability } = await describeCuda();
    return [name, capability, ...(matmulPrecision === 'high' ? [] : [matmulPrecision])].join(' ');
  }
  // Plain TypeScript: engines differ in their functions.
  const hash = new Hash();
  hash.addFloats(Float32Array.from({ length: 100 }, (_, i) => Math.exp(i / 7 - 6) + Math.log1p(i) + Math.cos(i)));
  return `${hash}`;
}
