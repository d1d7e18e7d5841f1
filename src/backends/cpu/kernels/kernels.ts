import { fromBase64 } from '../../../util/base64.ts';
import { BLOCK_KERNELS, type BlockKernels } from './block-kernels.generated.ts';
import { compilesOptimized, compileWithFastSimd } from './engine-flags.ts';
import { type Kernels, RELAXED_SIMD, SIMD } from './kernels.generated.ts';
import type { CpuKernels, KernelVariant, ProductForm, ProductKind } from './product-forms.ts';
import { PRODUCT_KERNELS, type ProductKernels } from './product-kernels.generated.ts';
import {
  RELAXED_SIMD as RELAXED_TRIAL,
  SIMD as TRIAL,
  type Kernels as TrialKernels,
} from './trial-kernels.generated.ts';
import { type FormChoice, tryProducts } from './try-products.ts';

export type { BlockKernels, FormChoice, Kernels, ProductKernels };

const SOURCES: Readonly<Record<KernelVariant, string>> = { 'relaxed-simd': RELAXED_SIMD, simd: SIMD };
const TRIALS: Readonly<Record<KernelVariant, string>> = { 'relaxed-simd': RELAXED_TRIAL, simd: TRIAL };

/** A format of weights for which there are kernels that read its codes. */
export type CodeFormat = keyof typeof BLOCK_KERNELS;

export const CODE_FORMATS = Object.keys(BLOCK_KERNELS) as readonly CodeFormat[];

/** Kernels that are compiled but work on no memory yet. Threads can be sent them. */
export interface CompiledKernels {
  readonly variant: KernelVariant;
  readonly module: WebAssembly.Module;
  /** Whether its code is optimised before the first call. */
  readonly isOptimized: boolean;
  /** Forms of products: of several rows, and of one. */
  readonly forms: FormChoice;
  /** Products in these forms. */
  readonly products: ReadonlyMap<ProductForm, WebAssembly.Module>;
  /** Kernels for the formats that have been asked for. */
  readonly blocks: Map<CodeFormat, WebAssembly.Module>;
}

/**
 * Compiles a variant; undefined where the engine does not know its instructions.
 * @param asked form of products. auto: the fastest of the variant's by a trial.
 */
export function compileKernels(variant: KernelVariant, asked: CpuKernels = 'auto'): CompiledKernels | undefined {
  const module = compile(SOURCES[variant]);
  if (module === undefined) return undefined;
  const isOptimized = compilesOptimized();
  const forms = asked === 'auto' ? fastestForms(variant, isOptimized) : { prompt: asked, decode: asked };
  const products = new Map<ProductForm, WebAssembly.Module>();
  for (const form of [forms.prompt, forms.decode]) {
    const compiled = products.get(form) ?? compile(PRODUCT_KERNELS[form]);
    if (compiled === undefined) return undefined;
    products.set(form, compiled);
  }
  return { variant, module, isOptimized, forms, products, blocks: new Map() };
}

function fastestForms(variant: KernelVariant, isOptimized: boolean): FormChoice {
  const module = compile(TRIALS[variant]);
  if (module === undefined) return { prompt: 'words', decode: 'words' };
  const memory = new WebAssembly.Memory({ initial: 1 });
  return tryProducts(instantiate<TrialKernels>(module, memory), variant, isOptimized);
}

/** Compiles the kernels for a format; undefined where the engine does not know their instructions. */
export function compileBlockKernels(format: CodeFormat, kind: ProductKind): WebAssembly.Module | undefined {
  return compile(BLOCK_KERNELS[format][kind]);
}

function compile(base64: string): WebAssembly.Module | undefined {
  return compileWithFastSimd(fromBase64(base64));
}

/** The exports of a module. Their types are made of the same sources as the modules. */
export function instantiate<K extends Kernels | ProductKernels | BlockKernels | TrialKernels>(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
): K {
  return new WebAssembly.Instance(module, { env: { memory } }).exports as K;
}
