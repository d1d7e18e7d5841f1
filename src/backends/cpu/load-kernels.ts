import { UnsupportedDeviceError } from '../../errors.ts';
import { CpuMemory } from './cpu-memory.ts';
import type { CpuRuntime } from './cpu-runtime.ts';
import { requestFastSimd } from './engine-flags.ts';
import { compileKernels, instantiateKernels, KERNEL_VARIANTS, type KernelVariant } from './kernels.ts';
import { kernelsAreRight } from './self-check.ts';

/** What a backend runs on, and which instructions it uses. */
export interface LoadedKernels extends CpuRuntime {
  readonly variant: KernelVariant;
}

/**
 * The fastest kernels that this engine compiles and computes right.
 * @throws UnsupportedDeviceError where WebAssembly has no SIMD.
 */
export function loadKernels(variants: readonly KernelVariant[] = KERNEL_VARIANTS): LoadedKernels {
  requestFastSimd();
  for (const variant of variants) {
    const module = compileKernels(variant);
    if (!module) continue;
    const memory = new CpuMemory();
    const kernels = instantiateKernels(module, memory.memory);
    if (kernelsAreRight(kernels, memory)) return { variant, kernels, memory };
  }
  throw new UnsupportedDeviceError(
    'This JavaScript engine has no WebAssembly SIMD that computes right.',
    "Use Node 20.19 or newer or a current browser, or device: 'reference'.",
  );
}
