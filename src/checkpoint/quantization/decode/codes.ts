import type { ReadScratch } from '../../files/read-scratch.ts';
import type { StoredTensor } from '../../files/stored-tensor.ts';
import { type BlockCodes, roundabout, wordCodes } from './block-codes.ts';

/** Reads the codes of quantised matrices, as the exact numbers that they stand for before they are scaled. */
export interface CodeReader {
  readRows(index: number, firstRow: number, rows: number, out: Float32Array): Promise<void>;
  /** The codes for blocks. Absent: no format has such codes. */
  readonly blocks?: BlockCodes | undefined;
  /** Drops what was kept between reads. */
  release?(): void;
}

/** Codes to numbers: a table, or what is subtracted from a whole number. */
export type CodeValues = Float32Array | number;

/** Rows of a matrix of a tensor, or of one matrix in a stack of them, as bytes. */
export async function readMatrixBytes(
  tensor: StoredTensor,
  index: number,
  firstRow: number,
  rows: number,
  scratch?: ReadScratch,
): Promise<Uint8Array<ArrayBuffer>> {
  if (tensor.shape.length < 3) return tensor.readBytes({ firstRow, rows }, scratch);
  const whole = await tensor.readBytes({ firstRow: index, rows: 1 });
  const rowBytes = whole.length / tensor.shape[1];
  return whole.slice(firstRow * rowBytes, (firstRow + rows) * rowBytes);
}

/** Codes of one byte each: signed bytes, or those of a table. Blocks take them as they are. */
export function byteCodes(tensor: StoredTensor, values: Float32Array | 'signed'): CodeReader {
  return {
    blocks: { bits: 8, base: 0, read: async (...rows) => readMatrixBytes(tensor, ...rows) },
    async readRows(index, firstRow, rows, out) {
      const bytes = await readMatrixBytes(tensor, index, firstRow, rows);
      if (values === 'signed') out.set(new Int8Array(bytes.buffer, 0, bytes.length));
      else for (let i = 0; i < bytes.length; i++) out[i] = values[bytes[i]];
    },
  };
}

/**
 * Codes of 1 to 8 bits, one after another from the lowest bit of a row's first byte on. In a little-endian file words of
 * 32 bits are the same, whether or not a code lies in two of them.
 * @param perWord codes in a word of 32 bits, where words are not filled to their last bit.
 */
export function packedCodes(
  tensor: StoredTensor,
  {
    bits,
    columns,
    values,
    perWord,
  }: { bits: number; columns: number; values: CodeValues; perWord?: number | undefined },
): CodeReader {
  const table = codeTable(bits, values);
  const codes: CodeReader = {
    async readRows(index, firstRow, rows, out) {
      const bytes = await readMatrixBytes(tensor, index, firstRow, rows);
      const rowBytes = bytes.length / rows;
      for (let row = 0; row < rows; row++) {
        const own = bytes.subarray(row * rowBytes, (row + 1) * rowBytes);
        unpackRow(own, bits, perWord, table, out.subarray(row * columns, (row + 1) * columns));
      }
    },
  };
  return { ...codes, blocks: blockCodes(codes, tensor, { bits, columns, values }) };
}

/** Codes of whole numbers, or of 4 bits for any table, for blocks. */
function blockCodes(
  codes: CodeReader,
  tensor: StoredTensor,
  { bits, columns, values }: { bits: number; columns: number; values: CodeValues },
): BlockCodes | undefined {
  const read: BlockCodes['read'] = async (...range) => readMatrixBytes(tensor, ...range);
  if (typeof values !== 'number') return bits === 4 ? wordCodes(bits, 0, read) : undefined;
  if (bits === 4 || bits === 8) return wordCodes(bits, values, read);
  return roundabout(codes, columns, bits < 4 ? { bits: 4, base: -values } : { bits: 8, base: 0 });
}

/** Values of all codes of so many bits. */
function codeTable(bits: number, values: CodeValues): Float32Array {
  return typeof values === 'number' ? Float32Array.from({ length: 2 ** bits }, (_, code) => code - values) : values;
}

function unpackRow(
  bytes: Uint8Array,
  bits: number,
  perWord: number | undefined,
  table: Float32Array,
  out: Float32Array,
): void {
  const count = out.length;
  if (bits === 8) {
    for (let i = 0; i < count; i++) out[i] = table[bytes[i]];
  } else if (bits === 4) {
    const pairs = count >> 1;
    for (let i = 0; i < pairs; i++) {
      out[2 * i] = table[bytes[i] & 15];
      out[2 * i + 1] = table[bytes[i] >> 4];
    }
    if (count & 1) out[count - 1] = table[bytes[pairs] & 15];
  } else {
    const mask = 2 ** bits - 1;
    for (let i = 0; i < count; i++) {
      const bit = perWord === undefined ? i * bits : Math.floor(i / perWord) * 32 + (i % perWord) * bits;
      const byte = bit >> 3;
      // A code ends in the next byte at the latest; after the last byte there is nothing to take.
      out[i] = table[((bytes[byte] | ((bytes[byte + 1] ?? 0) << 8)) >> (bit & 7)) & mask];
    }
  }
}
