import { UnsupportedDeviceError } from '../../errors.ts';
import {
  type CompiledKernels,
  compileKernels,
  instantiateKernels,
  KERNEL_VARIANTS,
  type KernelVariant,
} from './kernels/kernels.ts';
import { CpuMemory } from './memory/cpu-memory.ts';
import type { CpuRuntime } from './memory/cpu-runtime.ts';
import { kernelsAreRight } from './self-check.ts';

/**
 * Kept for the life of the process: the next model loads quicker, and V8 can end the process when threads come and go
 * while WebAssembly's code is freed (nodejs/node#64500).
 */
let fastest: CompiledKernels | undefined;

/**
 * {@link compileFastestKernels}, which compiles when it is first called.
 * @throws UnsupportedDeviceError where WebAssembly has no SIMD.
 */
export function fastestKernels(): CompiledKernels {
  fastest ??= compileFastestKernels();
  return fastest;
}

/**
 * The fastest kernels that this engine compiles and computes right.
 * @throws UnsupportedDeviceError where WebAssembly has no SIMD.
 */
export function compileFastestKernels(variants: readonly KernelVariant[] = KERNEL_VARIANTS): CompiledKernels {
  for (const variant of variants) {
    const compiled = compileKernels(variant);
    if (compiled && kernelsAreRight(loadKernels(compiled), compiled.isOptimized)) return compiled;
  }
  throw new UnsupportedDeviceError(
    'This JavaScript engine has no WebAssembly SIMD that computes right.',
    "Use Node 20.19 or newer or a current browser, or device: 'reference'.",
  );
}

/** Kernels with a memory of their own. */
export function loadKernels({ module }: CompiledKernels): CpuRuntime {
  const memory = new CpuMemory();
  return { memory, kernels: instantiateKernels(module, memory.memory) };
}
