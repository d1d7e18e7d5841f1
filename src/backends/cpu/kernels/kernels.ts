import { BLOCK_KERNELS, type BlockKernels } from './block-kernels.generated.ts';
import { compilesOptimized, compileWithFastSimd } from './engine-flags.ts';
import { type Kernels, RELAXED_SIMD, SIMD } from './kernels.generated.ts';

export type { BlockKernels, Kernels };

/** Instruction sets, fastest first. */
export const KERNEL_VARIANTS = ['relaxed-simd', 'simd'] as const;
export type KernelVariant = (typeof KERNEL_VARIANTS)[number];

const SOURCES: Readonly<Record<KernelVariant, string>> = { 'relaxed-simd': RELAXED_SIMD, simd: SIMD };

/** A format of weights for which there are kernels that read its codes. */
export type CodeFormat = keyof typeof BLOCK_KERNELS;

export const CODE_FORMATS = Object.keys(BLOCK_KERNELS) as readonly CodeFormat[];

/** Kernels that are compiled but work on no memory yet. Threads can be sent them. */
export interface CompiledKernels {
  readonly variant: KernelVariant;
  readonly module: WebAssembly.Module;
  /** Whether its code is optimised before the first call. */
  readonly isOptimized: boolean;
  /** Kernels for the formats that have been asked for. */
  readonly blocks: Map<CodeFormat, WebAssembly.Module>;
}

/** Compiles a variant; undefined where the engine does not know its instructions. */
export function compileKernels(variant: KernelVariant): CompiledKernels | undefined {
  const module = compile(SOURCES[variant]);
  return module && { variant, module, isOptimized: compilesOptimized(), blocks: new Map() };
}

/** Compiles the kernels for a format; undefined where the engine does not know their instructions. */
export function compileBlockKernels(format: CodeFormat, variant: KernelVariant): WebAssembly.Module | undefined {
  return compile(BLOCK_KERNELS[format][variant]);
}

function compile(base64: string): WebAssembly.Module | undefined {
  return compileWithFastSimd(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)));
}

// The types are made of the same sources as the modules.

export function instantiateKernels(module: WebAssembly.Module, memory: WebAssembly.Memory): Kernels {
  return new WebAssembly.Instance(module, { env: { memory } }).exports as Kernels;
}

export function instantiateBlockKernels(module: WebAssembly.Module, memory: WebAssembly.Memory): BlockKernels {
  return new WebAssembly.Instance(module, { env: { memory } }).exports as BlockKernels;
}
