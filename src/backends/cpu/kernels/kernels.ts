import { compilesOptimized, compileWithFastSimd } from './engine-flags.ts';
import { type Kernels, RELAXED_SIMD, SIMD } from './kernels.generated.ts';

export type { Kernels };

/** Instruction sets, fastest first. */
export const KERNEL_VARIANTS = ['relaxed-simd', 'simd'] as const;
export type KernelVariant = (typeof KERNEL_VARIANTS)[number];

const SOURCES: Readonly<Record<KernelVariant, string>> = { 'relaxed-simd': RELAXED_SIMD, simd: SIMD };

/** Kernels that are compiled but work on no memory yet. Threads can be sent them. */
export interface CompiledKernels {
  readonly variant: KernelVariant;
  readonly module: WebAssembly.Module;
  /** Whether its code is optimised before the first call. */
  readonly isOptimized: boolean;
}

/** Compiles a variant; undefined where the engine does not know its instructions. */
export function compileKernels(variant: KernelVariant): CompiledKernels | undefined {
  const module = compileWithFastSimd(Uint8Array.from(atob(SOURCES[variant]), (char) => char.charCodeAt(0)));
  return module && { variant, module, isOptimized: compilesOptimized() };
}

export function instantiateKernels(module: WebAssembly.Module, memory: WebAssembly.Memory): Kernels {
  // The type is made of the same sources as the module.
  return new WebAssembly.Instance(module, { env: { memory } }).exports as Kernels;
}
