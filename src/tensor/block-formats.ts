import type { WeightDType } from './dtype.ts';
import { weightBytes } from './quantize.ts';
import { E2M1, E4M3, E8M0 } from './small-floats.ts';

/**
 * Blocks in which a backend may keep the rows of a matrix: values of a block, its bytes, offsets of its float16 scales,
 * and the values that a row must have a multiple of. All numbers are little-endian.
 *
 * `Q8_0` to `Q6_K` and `MXFP4` are llama.cpp's own blocks (ggml-common.h). MXFP4 is a byte of E8M0, then 16 bytes of
 * E2M1: lower halves are the inputs 0 to 15, upper halves 16 to 31.
 *
 * The others hold what several tools write. Their codes of 4 bits lie in 16 bytes for 32 inputs, halves as in MXFP4.
 * - `NVFP4`: a float32 factor; 8 scales of E4M3, one for 16 inputs; 64 bytes of E2M1. value = factor * (scale * E2M1).
 * - `INT4_G32`, `INT4_G64`, `INT4_G128`: a word for each group of so many inputs, whose upper 24 bits are a float32 scale
 *   (its low byte is 0) and whose low byte is a zero point from 0 to 16; 64 bytes of codes. value = scale * (code - zero).
 * - `INT8_G128`: a float32 scale; 128 signed bytes, -128 among them. value = scale * code.
 * - `F8_E4M3`: a float32 scale; 128 bytes of E4M3. value = scale * E4M3.
 *
 * A value is that product, rounded to float32 once.
 */
export const BLOCK_FORMATS = {
  Q8_0: { blockValues: 32, blockBytes: 34, scales: [0], rowMultiple: 128 },
  Q4_0: { blockValues: 32, blockBytes: 18, scales: [0], rowMultiple: 128 },
  Q4_K: { blockValues: 256, blockBytes: 144, scales: [0, 2], rowMultiple: 256 },
  Q5_K: { blockValues: 256, blockBytes: 176, scales: [0, 2], rowMultiple: 256 },
  Q6_K: { blockValues: 256, blockBytes: 210, scales: [208], rowMultiple: 256 },
  MXFP4: { blockValues: 32, blockBytes: 17, scales: [], rowMultiple: 128 },
  NVFP4: { blockValues: 128, blockBytes: 76, scales: [], rowMultiple: 128 },
  INT4_G32: { blockValues: 128, blockBytes: 80, scales: [], rowMultiple: 128 },
  INT4_G64: { blockValues: 128, blockBytes: 72, scales: [], rowMultiple: 128 },
  INT4_G128: { blockValues: 128, blockBytes: 68, scales: [], rowMultiple: 128 },
  INT8_G128: { blockValues: 128, blockBytes: 132, scales: [], rowMultiple: 128 },
  F8_E4M3: { blockValues: 128, blockBytes: 132, scales: [], rowMultiple: 128 },
} as const;

export type BlockFormat = keyof typeof BLOCK_FORMATS;

/** Storage of a matrix: values of a dtype, or blocks. */
export type MatrixDType = WeightDType | BlockFormat;

export function isBlockFormat(dtype: string): dtype is BlockFormat {
  return Object.hasOwn(BLOCK_FORMATS, dtype);
}

/** Whether products with such weights quantise activations, too. */
export function isQuantized(dtype: MatrixDType): boolean {
  return (isBlockFormat(dtype) && dtype !== 'F8_E4M3') || dtype === 'int8' || dtype === 'int4';
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

/** Index of the first block that is not finite: a scale, a code, or their product; or that kernels can't read. -1: none. */
export function nonFiniteBlock(format: BlockFormat, bytes: Uint8Array): number {
  const { blockBytes, scales } = BLOCK_FORMATS[format];
  if (hasFloat16Scales(format)) return nonFiniteFloat16(bytes, scales, blockBytes);
  const isSound = blockCheck(format, bytes);
  for (let begin = 0; begin < bytes.length; begin += blockBytes) if (!isSound(begin)) return begin / blockBytes;
  return -1;
}

type Float16Format = 'Q8_0' | 'Q4_0' | 'Q4_K' | 'Q5_K' | 'Q6_K';

function hasFloat16Scales(format: BlockFormat): format is Float16Format {
  return BLOCK_FORMATS[format].scales.length > 0;
}

/** Index of the first block with a float16 scale that is not finite; -1: none. Every load of a model waits for this. */
function nonFiniteFloat16(bytes: Uint8Array, scales: readonly number[], blockBytes: number): number {
  let first = bytes.length;
  for (const scale of scales) {
    // The exponent is in the upper byte.
    let at = scale + 1;
    while (at < first && (bytes[at] & 0x7c) !== 0x7c) at += blockBytes;
    first = Math.min(first, at);
  }
  return first < bytes.length ? Math.floor(first / blockBytes) : -1;
}

/** The largest E8M0 code whose scale is finite times any E2M1 float. */
const E8M0_FOR_ALL = 251;

/** Tells of a block of a format, by the place where it begins, whether kernels can read it and all its values are finite. */
function blockCheck(format: Exclude<BlockFormat, Float16Format>, bytes: Uint8Array): (begin: number) => boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (format) {
    case 'MXFP4':
      return (begin) =>
        bytes[begin] <= E8M0_FOR_ALL || isFiniteProduct(E8M0[bytes[begin]], 6, () => largestE2M1(bytes, begin + 1, 16));
    case 'NVFP4':
      return (begin) => {
        const factor = view.getFloat32(begin, true);
        const areNumbers = !hasNaN(view.getUint32(begin + 4, true)) && !hasNaN(view.getUint32(begin + 8, true));
        if (areNumbers && isFiniteScale(factor, 448 * 6)) return true;
        for (let group = 0; group < 8; group++) {
          const codes = begin + 12 + 16 * (group >> 1);
          const largest = () => largestE2M1(bytes, codes, 16, 4 * (group & 1));
          if (!isFiniteProduct(factor * E4M3[bytes[begin + 4 + group]], 6, largest)) return false;
        }
        return true;
      };
    case 'INT4_G32':
    case 'INT4_G64':
    case 'INT4_G128': {
      const words = BLOCK_FORMATS[format].blockBytes - 64;
      return (begin) => {
        for (let at = begin; at < begin + words; at += 4) {
          if (bytes[at] > 16 || !isFiniteScale(view.getFloat32(at, true), 16)) return false;
        }
        return true;
      };
    }
    case 'INT8_G128':
      return (begin) => isFiniteScale(view.getFloat32(begin, true), 128);
    case 'F8_E4M3':
      return (begin) => {
        if (!isFiniteScale(view.getFloat32(begin, true), 448)) return false;
        for (let at = begin + 4; at < begin + 132; at += 4) {
          if (hasNaN(view.getUint32(at, true))) return false;
        }
        return true;
      };
  }
}

/** Whether any of four E4M3 codes is NaN: the lower seven bits are ones, the only ones to which 1 can be added with a carry. */
function hasNaN(codes: number): boolean {
  return (((codes & 0x7f7f7f7f) + 0x01010101) & 0x80808080) !== 0;
}

/** Whether a scale is finite in float32 times the largest value that codes can have. */
function isFiniteScale(scale: number, bound: number): boolean {
  return Number.isFinite(Math.fround(scale * bound));
}

/** Whether a scale is finite times the largest of some values, which are looked at only if it matters. */
function isFiniteProduct(scale: number, bound: number, largest: () => number): boolean {
  return isFiniteScale(scale, bound) || isFiniteScale(scale, largest());
}

/** Largest magnitude in the lower (shift 0) or upper (4) halves of some bytes, or in both. */
function largestE2M1(bytes: Uint8Array, begin: number, count: number, shift?: number): number {
  let largest = 0;
  for (let i = begin; i < begin + count; i++) {
    if (shift !== 4) largest = Math.max(largest, E2M1[bytes[i] & 7]);
    if (shift !== 0) largest = Math.max(largest, E2M1[(bytes[i] >> 4) & 7]);
  }
  return largest;
}
