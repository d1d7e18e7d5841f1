import { IQ1_M, IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS } from './codebook-quants.ts';
import { BF16, F16, F32, F64 } from './floats.ts';
import { Q2_K, Q3_K, Q4_K, Q5_K, Q6_K } from './k-quants.ts';
import { Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 } from './simple-quants.ts';
import { IQ4_NL, IQ4_XS, MXFP4, NVFP4 } from './table-quants.ts';
import type { TensorType } from './tensor-type.ts';

/**
 * All types by their number in a file (`enum ggml_type` in llama.cpp's ggml/include/ggml.h). Those without `dequantize`
 * are known by their size alone; the numbers that are absent were given up.
 */
const TENSOR_TYPES: ReadonlyMap<number, TensorType> = new Map<number, TensorType>([
  [0, F32],
  [1, F16],
  [2, Q4_0],
  [3, Q4_1],
  [6, Q5_0],
  [7, Q5_1],
  [8, Q8_0],
  [9, { name: 'Q8_1', blockValues: 32, blockBytes: 36 }],
  [10, Q2_K],
  [11, Q3_K],
  [12, Q4_K],
  [13, Q5_K],
  [14, Q6_K],
  [15, { name: 'Q8_K', blockValues: 256, blockBytes: 292 }],
  [16, IQ2_XXS],
  [17, IQ2_XS],
  [18, IQ3_XXS],
  [19, IQ1_S],
  [20, IQ4_NL],
  [21, IQ3_S],
  [22, IQ2_S],
  [23, IQ4_XS],
  [24, { name: 'I8', blockValues: 1, blockBytes: 1 }],
  [25, { name: 'I16', blockValues: 1, blockBytes: 2 }],
  [26, { name: 'I32', blockValues: 1, blockBytes: 4 }],
  [27, { name: 'I64', blockValues: 1, blockBytes: 8 }],
  [28, F64],
  [29, IQ1_M],
  [30, BF16],
  [34, { name: 'TQ1_0', blockValues: 256, blockBytes: 54 }],
  [35, { name: 'TQ2_0', blockValues: 256, blockBytes: 66 }],
  [39, MXFP4],
  [40, NVFP4],
]);

/** A type by its number; undefined where no version of the format that is known here has it. */
export function tensorType(id: number): TensorType | undefined {
  return TENSOR_TYPES.get(id);
}

/** Names of the types whose values can be read. */
export function readableTypes(): string[] {
  return [...TENSOR_TYPES.values()].filter(({ dequantize }) => dequantize !== undefined).map(({ name }) => name);
}
