import { UnsupportedDeviceError } from '../../errors.ts';
import {
  type BlockKernels,
  type CodeFormat,
  type CompiledKernels,
  compileBlockKernels,
  compileKernels,
  instantiate,
  type Kernels,
  type ProductKernels,
} from './kernels/kernels.ts';
import {
  type CpuKernels,
  KERNEL_VARIANTS,
  type KernelVariant,
  kindOf,
  type ProductForm,
  variantOf,
} from './kernels/product-forms.ts';
import { CpuMemory } from './memory/cpu-memory.ts';
import type { CpuRuntime } from './memory/cpu-runtime.ts';
import { blockKernelsAreRight, kernelsAreRight } from './self-check.ts';

/**
 * Kept for the life of the process: the next model loads quicker, and V8 can end the process when threads come and go
 * while WebAssembly's code is freed (nodejs/node#64500).
 */
const known = new Map<CpuKernels, CompiledKernels>();

/**
 * {@link compileFastestKernels}, which compiles and tries what has not been asked for before.
 * @param formats of weights: kernels for others are compiled when a weight is made.
 * @param asked form of products.
 * @throws UnsupportedDeviceError where WebAssembly has no SIMD, or not what the form needs.
 */
export function fastestKernels(formats: Iterable<CodeFormat> = [], asked: CpuKernels = 'auto'): CompiledKernels {
  const kernels = known.get(asked) ?? compileFastestKernels(KERNEL_VARIANTS, asked);
  known.set(asked, kernels);
  for (const format of formats) blockModule(kernels, format);
  return kernels;
}

/**
 * The fastest kernels that this engine compiles and computes right.
 * @throws UnsupportedDeviceError where WebAssembly has no SIMD, or not what the form needs.
 */
export function compileFastestKernels(
  variants: readonly KernelVariant[] = KERNEL_VARIANTS,
  asked: CpuKernels = 'auto',
): CompiledKernels {
  for (const variant of variants) {
    if (asked !== 'auto' && variantOf(asked) === 'relaxed-simd' && variant === 'simd') continue;
    const compiled = compileKernels(variant, asked);
    if (compiled && kernelsAreRight(loadKernels(compiled), compiled.isOptimized)) return compiled;
  }
  throw asked === 'auto' ? noSimd() : noForm(asked);
}

/** Kernels with a memory of their own. */
export function loadKernels(compiled: CompiledKernels): CpuRuntime {
  const memory = new CpuMemory();
  const kernels = instantiate<Kernels>(compiled.module, memory.memory);
  const { forms } = compiled;
  const prompt = instantiateProducts(compiled, forms.prompt, memory);
  const decode = forms.decode === forms.prompt ? prompt : instantiateProducts(compiled, forms.decode, memory);
  const instances = new Map<CodeFormat, BlockKernels>();
  const blockKernels = (format: CodeFormat) => {
    const instance = instances.get(format) ?? instantiate<BlockKernels>(blockModule(compiled, format), memory.memory);
    instances.set(format, instance);
    return instance;
  };
  return { memory, kernels, products: { prompt, decode }, blockKernels };
}

function instantiateProducts({ products }: CompiledKernels, form: ProductForm, { memory }: CpuMemory): ProductKernels {
  const module = products.get(form);
  if (module === undefined) throw noForm(form);
  return instantiate<ProductKernels>(module, memory);
}

/** The kernels for a format, of the same kind as products of several rows, or of a slower one that computes right. */
function blockModule(compiled: CompiledKernels, format: CodeFormat): WebAssembly.Module {
  const known = compiled.blocks.get(format);
  if (known !== undefined) return known;
  for (const kind of new Set([kindOf(compiled.forms.prompt), 'words'] as const)) {
    const module = compileBlockKernels(format, kind);
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

function noForm(form: ProductForm): UnsupportedDeviceError {
  return new UnsupportedDeviceError(
    `This JavaScript engine can't run the CPU kernels '${form}'.`,
    "Use cpuKernels: 'auto', which takes the fastest that it can.",
  );
}
