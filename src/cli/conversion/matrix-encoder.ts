import { INT4_PART, QUANT_BLOCK, quantizeInt4Parts, quantizeInt8 } from '../../tensor/quantize.ts';

/** Dtypes that a model can be written in. */
export const CONVERTED_DTYPES = ['int8', 'int4', 'bfloat16'] as const;
export type ConvertedDType = (typeof CONVERTED_DTYPES)[number];

/** Fewer columns than these share no scale in the file: the scales would be most of it. */
const LEAST_GROUP = 16;

/** How a quantised matrix lies in compressed-tensors' `pack-quantized` format. */
export interface PackedForm {
  readonly bits: 8 | 4;
  /** Columns of one scale in the file. A block's scale comes again for each of its groups. */
  readonly groupSize: number;
  /** A scale of int8 is a bfloat16. That of int4 is one times a whole factor, for which bfloat16 has too few bits. */
  readonly scaleDType: 'BF16' | 'F32';
}

/**
 * The form for matrices of so many columns. Undefined where groups that divide the columns are too small to be worth it.
 */
export function packedForm(dtype: 'int8' | 'int4', columns: number): PackedForm | undefined {
  const groupSize = greatestDivisor(columns, dtype === 'int8' ? QUANT_BLOCK : INT4_PART);
  if (groupSize < LEAST_GROUP) return undefined;
  return dtype === 'int8' ? { bits: 8, groupSize, scaleDType: 'BF16' } : { bits: 4, groupSize, scaleDType: 'F32' };
}

/** The greatest power of two that divides both; `limit` is one. */
function greatestDivisor(columns: number, limit: number): number {
  let size = limit;
  while (columns % size !== 0) size /= 2;
  return size;
}

/** Bytes of the codes and the scales of some rows. */
export interface PackedRows {
  readonly codes: Uint8Array;
  readonly scales: Uint8Array;
}

/** Quantises rows as they are when a model is loaded in int8 or int4, and packs them. */
export function packRows(values: Float32Array, columns: number, form: PackedForm): PackedRows {
  const { bits, groupSize } = form;
  const rows = values.length / columns;
  const codes = new Uint8Array((values.length * bits) / 8);
  const scales = new Float32Array(rows * (columns / groupSize));
  const levels = new Int8Array(QUANT_BLOCK);
  const factors = new Uint8Array(QUANT_BLOCK / INT4_PART);
  for (let row = 0; row < rows; row++) {
    for (let first = 0; first < columns; first += QUANT_BLOCK) {
      const begin = row * columns + first;
      const block = values.subarray(begin, begin + Math.min(QUANT_BLOCK, columns - first));
      const scale = bits === 8 ? quantizeInt8(block, levels) : quantizeInt4Parts(block, levels, factors);
      if (scale === 0) levels.fill(0);
      for (let i = 0; i < block.length; i++) {
        if (bits === 8) codes[begin + i] = levels[i] + 128;
        else codes[(begin + i) >> 1] |= (levels[i] + 8) << (4 * (i & 1));
      }
      for (let i = 0; i < block.length; i += groupSize) {
        const factor = bits === 8 ? 1 : factors[Math.floor(i / INT4_PART)];
        scales[(begin + i) / groupSize] = scale * factor;
      }
    }
  }
  const bytes = new Uint8Array(scales.buffer);
  return { codes, scales: form.scaleDType === 'F32' ? bytes : upperHalves(scales) };
}

/** The bits of values that are bfloat16 already. */
export function upperHalves(values: Float32Array): Uint8Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return new Uint8Array(Uint16Array.from(words, (word) => word >>> 16).buffer);
}
