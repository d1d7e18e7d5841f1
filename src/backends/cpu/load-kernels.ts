import { UnsupportedDeviceError } from '../../errors.ts';
import {
  type BlockKernels,
  type CodeFormat,
  type CompiledKernels,
  compileBlockKernels,
  compileKernels,
  instantiateBlockKernels,
  instantiateKernels,
  KERNEL_VARIANTS,
  type KernelVariant,
} from './kernels/kernels.ts';
import { CpuMemory } from './memory/cpu-memory.ts';
import type { CpuRuntime } from './memory/cpu-runtime.ts';
import { blockKernelsAreRight, kernelsAreRight } from './self-check.ts';

/**
 * Kept for the life of the process: the next model loads quicker, and V8 can end the process when threads come and go
 * while WebAssembly's code is freed (nodejs/node#64500).
 */
let fastest: CompiledKernels | undefined;

/**
 * {@link compileFastestKernels}, which compiles what has not been asked for before.
 * @param formats of weights: kernels for others are compiled when a weight is made.
 * @throws UnsupportedDeviceError where WebAssembly has no SIMD.
 */
export function fastestKernels(formats: Iterable<CodeFormat> = []): CompiledKernels {
  fastest ??= compileFastestKernels();
  for (const format of formats) blockModule(fastest, format);
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
  throw noSimd();
}

/** Kernels with a memory of their own. */
export function loadKernels(compiled: CompiledKernels): CpuRuntime {
  const memory = new CpuMemory();
  const kernels = instantiateKernels(compiled.module, memory.memory);
  const instances = new Map<CodeFormat, BlockKernels>();
  const blockKernels = (format: CodeFormat) => {
    const known = instances.get(format) ?? instantiateBlockKernels(blockModule(compiled, format), memory.memory);
    instances.set(format, known);
    return known;
  };
  return { memory, kernels, blockKernels };
}

/** The kernels for a format, of the same instruction set as the others, or of a slower one that computes right. */
function blockModule(compiled: CompiledKernels, format: CodeFormat): WebAssembly.Module {
  const known = compiled.blocks.get(format);
  if (known !== undefined) return known;
  for (const variant of KERNEL_VARIANTS.slice(KERNEL_VARIANTS.indexOf(compiled.variant))) {
    const module = compileBlockKernels(format, variant);
    if (module === undefined) continue;
    const runtime = loadKernels({ ...compiled, blocks: new Map([[format, module]]) });
    if (!blockKernelsAreRight(runtime, format, compiled.isOptimized)) continue;
    compiled.blocks.set(format, module);
    return module;
  }
  throw noSimd();
}

function noSimd(): UnsupportedDeviceError {
  return new UnsupportedDeviceError(
    'This JavaScript engine has no WebAssembly SIMD that computes right.',
    "Use Node 20.19 or newer or a current browser, or device: 'reference'.",
  );
}
