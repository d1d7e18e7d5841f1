import { UnsupportedDeviceError } from '../../../errors.ts';

/**
 * Forms of products: what one is made of, and whether it takes two vectors of weights at once (narrow) or four. All give
 * the same bits where multiply-adds are the same. See kernels/products/form.ts.
 */
export const PRODUCT_FORMS = ['dot', 'dot-narrow', 'pairs', 'pairs-narrow', 'words', 'words-narrow'] as const;
export type ProductForm = (typeof PRODUCT_FORMS)[number];

/** The form of a name. @throws UnsupportedDeviceError where there is no such form. */
export function parseCpuKernels(name: string): CpuKernels {
  const known = CPU_KERNELS.find((form) => form === name);
  if (known !== undefined) return known;
  throw new UnsupportedDeviceError(`Unknown CPU kernels '${name}'.`, `Use one of: ${CPU_KERNELS.join(', ')}.`);
}

/** Instruction sets, fastest first. */
export const KERNEL_VARIANTS = ['relaxed-simd', 'simd'] as const;
export type KernelVariant = (typeof KERNEL_VARIANTS)[number];

/** What products of integers are made of. */
export type ProductKind = 'dot' | 'pairs' | 'words';

/** What to use: auto is what a trial finds to be fastest. */
export const CPU_KERNELS = ['auto', ...PRODUCT_FORMS] as const;
export type CpuKernels = (typeof CPU_KERNELS)[number];

export function kindOf(form: ProductForm): ProductKind {
  if (form === 'dot' || form === 'dot-narrow') return 'dot';
  return form === 'pairs' || form === 'pairs-narrow' ? 'pairs' : 'words';
}

export function formOf(kind: ProductKind, isNarrow: boolean): ProductForm {
  return isNarrow ? `${kind}-narrow` : kind;
}

/** Instruction set that a form needs. */
export function variantOf(form: ProductForm): KernelVariant {
  return kindOf(form) === 'words' ? 'simd' : 'relaxed-simd';
}
