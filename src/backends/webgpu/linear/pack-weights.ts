import { isBlockFormat, type MatrixDType } from '../../../tensor/block-formats.ts';
import type { WeightDType } from '../../../tensor/dtype.ts';
import { packFloat16, roundToBfloat16 } from '../../../tensor/float16.ts';
import { INT4_PART, QUANT_BLOCK, quantizeInt4Parts, quantizeInt8 } from '../../../tensor/quantize.ts';
import type { LinearWeight } from '../../contract/linear.ts';
import { blockRowWords } from './pack-blocks.ts';

const scratchF32 = new Float32Array(1);
const scratchU32 = new Uint32Array(scratchF32.buffer);

/**
 * u32 words of a row of `columns` weights. In blocks they are those of {@link blockRowWords}; otherwise a multiple of 4, so
 * that rows begin at 16 bytes. What follows the last weight is 0.
 *
 * - float32: one a word.
 * - bfloat16, float16: two a word, the first in the lower half.
 * - int8: per block of 128 weights 32 words of four, the first lowest; after the last block one float32 scale per block.
 * - int4: per block 16 words of eight levels, the first lowest; after the last block one word per block:
 *   the scale as bfloat16 in the upper half, and in the lower a factor of 4 bits for each 32 weights, the first lowest.
 */
export function rowWords(columns: number, dtype: MatrixDType): number {
  if (isBlockFormat(dtype)) return blockRowWords(dtype, columns);
  const blocks = Math.ceil(columns / QUANT_BLOCK);
  switch (dtype) {
    case 'float32':
      return roundUp4(columns);
    case 'bfloat16':
    case 'float16':
      return roundUp4(Math.ceil(columns / 2));
    case 'int8':
      return blocks * (QUANT_BLOCK / 4) + roundUp4(blocks);
    case 'int4':
      return blocks * (QUANT_BLOCK / 8) + roundUp4(blocks);
  }
}

/** u32 words of a whole matrix. */
export function matrixWords({ outFeatures, inFeatures, dtype }: LinearWeight): number {
  return outFeatures * rowWords(inFeatures, dtype);
}

/** Packs one row; `out` has {@link rowWords} words, all 0. The values are those of roundWeight. */
export function packRow(row: Float32Array, dtype: WeightDType, out: Uint32Array): void {
  switch (dtype) {
    case 'float32':
      new Float32Array(out.buffer, out.byteOffset, row.length).set(row);
      return;
    case 'bfloat16':
      for (let i = 0; i < row.length; i++) out[i >> 1] |= bfloat16Bits(row[i]) << (16 * (i & 1));
      return;
    case 'float16':
      packFloat16(row, out);
      return;
    case 'int8':
      packInt8(row, out);
      return;
    case 'int4':
      packInt4(row, out);
  }
}

function packInt8(row: Float32Array, out: Uint32Array): void {
  const q = new Int8Array(QUANT_BLOCK);
  const blocks = Math.ceil(row.length / QUANT_BLOCK);
  for (let b = 0; b < blocks; b++) {
    const block = row.subarray(b * QUANT_BLOCK, (b + 1) * QUANT_BLOCK);
    out[blocks * (QUANT_BLOCK / 4) + b] = float32Bits(quantizeInt8(block, q));
    const words = b * (QUANT_BLOCK / 4);
    for (let i = 0; i < block.length; i++) out[words + (i >> 2)] |= (q[i] & 0xff) << (8 * (i & 3));
  }
}

function packInt4(row: Float32Array, out: Uint32Array): void {
  const levels = new Int8Array(QUANT_BLOCK);
  const factors = new Uint8Array(QUANT_BLOCK / INT4_PART);
  const blocks = Math.ceil(row.length / QUANT_BLOCK);
  for (let b = 0; b < blocks; b++) {
    const block = row.subarray(b * QUANT_BLOCK, (b + 1) * QUANT_BLOCK);
    factors.fill(0);
    const scale = quantizeInt4Parts(block, levels, factors);
    let header = (float32Bits(scale) & 0xffff0000) >>> 0;
    factors.forEach((factor, part) => {
      header |= factor << (4 * part);
    });
    out[blocks * (QUANT_BLOCK / 8) + b] = header;
    const words = b * (QUANT_BLOCK / 8);
    for (let i = 0; i < block.length; i++) out[words + (i >> 3)] |= (levels[i] & 0xf) << (4 * (i & 7));
  }
}

function bfloat16Bits(value: number): number {
  return float32Bits(roundToBfloat16(value)) >>> 16;
}

function float32Bits(value: number): number {
  scratchF32[0] = value;
  return scratchU32[0];
}

function roundUp4(value: number): number {
  return Math.ceil(value / 4) * 4;
}
