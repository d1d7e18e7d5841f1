import { UnsupportedDTypeError } from '../errors.ts';
import { WEIGHT_DTYPES, type WeightDType } from './dtype.ts';
import { weightBytes } from './quantize.ts';

/**
 * Formats of llama.cpp whose blocks a backend may keep as a file holds them (ggml-common.h): values of a block, its bytes,
 * where its scales of 16 bits lie, and the values that a row must have a multiple of.
 */
export const BLOCK_FORMATS = {
  Q8_0: { blockValues: 32, blockBytes: 34, scales: [0], rowMultiple: 128 },
  Q4_0: { blockValues: 32, blockBytes: 18, scales: [0], rowMultiple: 128 },
  Q4_K: { blockValues: 256, blockBytes: 144, scales: [0, 2], rowMultiple: 256 },
  Q5_K: { blockValues: 256, blockBytes: 176, scales: [0, 2], rowMultiple: 256 },
  Q6_K: { blockValues: 256, blockBytes: 210, scales: [208], rowMultiple: 256 },
} as const;

export type BlockFormat = keyof typeof BLOCK_FORMATS;

/** Storage of a matrix: values of a dtype, or blocks as a file holds them. */
export type MatrixDType = WeightDType | BlockFormat;

export function isBlockFormat(dtype: string): dtype is BlockFormat {
  return Object.hasOwn(BLOCK_FORMATS, dtype);
}

/** Whether products with such weights quantise activations, too. */
export function isQuantized(dtype: MatrixDType): boolean {
  return isBlockFormat(dtype) || dtype === 'int8' || dtype === 'int4';
}

/** A dtype of values. @throws UnsupportedDTypeError for a format of blocks, which not every backend keeps. */
export function valueDType(dtype: MatrixDType): WeightDType {
  if (!isBlockFormat(dtype)) return dtype;
  throw new UnsupportedDTypeError(`${dtype} blocks are not kept here.`, `Use one of: ${WEIGHT_DTYPES.join(', ')}.`);
}

/** Bytes of a row of so many values, which are whole blocks. */
export function blockRowBytes(format: BlockFormat, columns: number): number {
  const { blockValues, blockBytes } = BLOCK_FORMATS[format];
  return (columns / blockValues) * blockBytes;
}

/** Bytes of a row of so many values in any storage. */
export function matrixRowBytes(dtype: MatrixDType, columns: number): number {
  return isBlockFormat(dtype) ? blockRowBytes(dtype, columns) : weightBytes(1, columns, dtype);
}

/** Whether rows of so many values can be kept in blocks. */
export function fitsBlocks(format: BlockFormat, columns: number): boolean {
  return columns % BLOCK_FORMATS[format].rowMultiple === 0;
}

/** Index of the first block whose scales are not finite; -1: all are. */
export function nonFiniteBlock(format: BlockFormat, bytes: Uint8Array): number {
  const { blockBytes, scales } = BLOCK_FORMATS[format];
  for (let block = 0; block * blockBytes < bytes.length; block++) {
    // The exponent of a float16 is in its upper byte.
    for (const scale of scales) if ((bytes[block * blockBytes + scale + 1] & 0x7c) === 0x7c) return block;
  }
  return -1;
}
