import { compileWithFastSimd } from '../backends/cpu/kernels/engine-flags.ts';
import { fromBase64 } from '../util/base64.ts';
import { type Kernels, RELAXED_SIMD, SIMD } from './kernels.generated.ts';

/** First address that product kernels may be given: their own constants lie below. */
export const OPERANDS = 4096;
/** Steps of a product kernel's inner loop. */
export const STEPS = 256;
/** Vectors of weights that each step multiplies. */
export const VECTORS = 4;
/** Rows that each step multiplies them by: one kernel for each number. */
export const ROWS = [2, 3, 4, 6] as const;
export type Rows = (typeof ROWS)[number];

/**
 * Sums products.
 * @param x rows of {@link STEPS} * 4 bytes, one after another. @param w {@link STEPS} * {@link VECTORS} * 16 bytes.
 * @param out rows * {@link VECTORS} * 16 bytes for the sums.
 * @param times rounds over the same rows and weights, at least 1.
 */
export type ProductKernel = (x: number, w: number, out: number, times: number) => void;

type Operand = 'float' | 'integer' | 'pair';

/** Exports of `kernels/bench/index.ts`, whose modules are built together with this file. */
export interface BenchKernels extends Readonly<Record<`${Operand}Rows${Rows}`, ProductKernel>> {
  /**
   * Reads two regions of one size, a multiple of 64 bytes, side by side.
   * @param end of the first. @returns a checksum that means nothing.
   */
  read(first: number, second: number, end: number): number;
}

/** Kinds of products: the kernels that make them, and the products that one instruction makes. */
export const PRODUCTS = {
  /** `f32x4.relaxed_madd`, which is fused where the processor can. */
  fusedFloat32: { source: RELAXED_SIMD, operand: 'float', perInstruction: 4 },
  /** `f32x4.mul` and `f32x4.add`: some processors make as many of these as of fused ones. */
  float32: { source: SIMD, operand: 'float', perInstruction: 4 },
  /** `i32x4.relaxed_dot_i8x16_i7x16_add_s` */
  int8: { source: RELAXED_SIMD, operand: 'integer', perInstruction: 16 },
  /** `i16x8.relaxed_dot_i8x16_i7x16_s`, `i32x4.dot_i16x8_s` with ones, and `i32x4.add`. */
  pairs: { source: RELAXED_SIMD, operand: 'pair', perInstruction: 16 },
  /** `i32x4.dot_i16x8_s` and `i32x4.add`: the quickest products of integers without relaxed SIMD. */
  int16: { source: SIMD, operand: 'integer', perInstruction: 8 },
} as const;

export type ProductKind = keyof typeof PRODUCTS;

/** The module with the kernels of a kind; undefined where the JavaScript engine does not know its instructions. */
export function compileProducts(kind: ProductKind): WebAssembly.Module | undefined {
  return compileWithFastSimd(fromBase64(PRODUCTS[kind].source));
}

/** The module with the read kernel. It needs no options of V8: memory is slower than any code of the loop. */
export function compileReadKernel(): WebAssembly.Module {
  return new WebAssembly.Module(fromBase64(SIMD));
}

export function instantiateBenchKernels(module: WebAssembly.Module, memory: WebAssembly.Memory): BenchKernels {
  return new WebAssembly.Instance(module, { env: { memory } }).exports as Kernels;
}

/** Name of the kernel that makes products of a kind for a number of rows. */
export function productKernel(kind: ProductKind, rows: Rows): `${Operand}Rows${Rows}` {
  return `${PRODUCTS[kind].operand}Rows${rows}`;
}
