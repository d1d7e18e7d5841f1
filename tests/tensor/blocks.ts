import { expect } from 'vitest';
import { tensorType } from '../../src/checkpoint/gguf/types/registry.ts';
import { BLOCK_FORMATS, type BlockFormat, blockRowBytes } from '../../src/tensor/block-formats.ts';
import { SeededRandom } from '../layers/seeded.ts';

/** Numbers of llama.cpp's types in a GGUF file. */
const TYPE_IDS = { Q4_0: 2, Q8_0: 8, Q4_K: 12, Q5_K: 13, Q6_K: 14, MXFP4: 39 } as const;
const GROUPS = { INT4_G32: 32, INT4_G64: 64, INT4_G128: 128 } as const;
/** Magnitudes of E2M1. */
const E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];

function isKeyOf<T extends object>(table: T, key: PropertyKey): key is keyof T {
  return Object.hasOwn(table, key);
}

/** Values that blocks stand for, by the definitions of the formats and without the tables of the project. */
export function blockValues(format: BlockFormat, bytes: Uint8Array): Float32Array {
  const { blockBytes, blockValues: size } = BLOCK_FORMATS[format];
  const blocks = bytes.length / blockBytes;
  const values = new Float32Array(blocks * size);
  if (isKeyOf(TYPE_IDS, format)) {
    tensorType(TYPE_IDS[format])?.dequantize?.(Uint8Array.from(bytes), blocks, values);
    return values;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let block = 0; block < blocks; block++) {
    const begin = block * blockBytes;
    for (let k = 0; k < size; k++) values[block * size + k] = valueAt(format, view, begin, k);
  }
  return values;
}

function valueAt(
  format: keyof typeof GROUPS | 'NVFP4' | 'INT8_G128' | 'F8_E4M3',
  view: DataView,
  begin: number,
  k: number,
): number {
  if (isKeyOf(GROUPS, format)) {
    const group = GROUPS[format];
    const word = view.getUint32(begin + 4 * Math.floor(k / group), true);
    return floatOf(word & ~255) * (nibble(view, begin + (4 * 128) / group, k) - (word & 255));
  }
  const factor = view.getFloat32(begin, true);
  if (format === 'INT8_G128') return factor * view.getInt8(begin + 4 + k);
  if (format === 'F8_E4M3') return factor * e4m3(view.getUint8(begin + 4 + k));
  const code = nibble(view, begin + 12, k);
  return factor * e4m3(view.getUint8(begin + 4 + (k >> 4))) * (code & 8 ? -1 : 1) * E2M1[code & 7];
}

/** Code of 4 bits of an input: of 32, the first 16 are in the lower halves of 16 bytes, the others in the upper ones. */
function nibble(view: DataView, begin: number, k: number): number {
  const byte = view.getUint8(begin + 16 * (k >> 5) + (k & 15));
  return k & 16 ? byte >> 4 : byte & 15;
}

function floatOf(bits: number): number {
  return new Float32Array(Uint32Array.of(bits).buffer)[0];
}

function e4m3(code: number): number {
  const sign = code & 0x80 ? -1 : 1;
  const [exponent, fraction] = [(code >> 3) & 15, code & 7];
  if (exponent === 15 && fraction === 7) return Number.NaN;
  return exponent === 0 ? (sign * fraction) / 512 : sign * (1 + fraction / 8) * 2 ** (exponent - 7);
}

/** The rows that an embedding gives are those of a table, zeros for ids beyond it. A zero has no sign that matters. */
export function expectTableRows(found: Float32Array, table: Float32Array, rows: readonly (number | undefined)[]): void {
  const K = found.length / rows.length;
  const expected = rows.flatMap((row) =>
    row === undefined ? new Array<number>(K).fill(0) : [...table.subarray(row * K, (row + 1) * K)],
  );
  expect([...found].map((value) => value + 0)).toEqual(expected.map((value) => value + 0));
}

/** Rows of blocks with any bits, and scales that make values about as large as those of layers. */
export function someBlocks(format: BlockFormat, rows: number, columns: number, seed: number): Uint8Array<ArrayBuffer> {
  const random = new SeededRandom(seed);
  const { blockBytes, scales } = BLOCK_FORMATS[format];
  const bytes = Uint8Array.from({ length: rows * blockRowBytes(format, columns) }, () => 256 * random.next());
  const view = new DataView(bytes.buffer);
  const scale = () => (random.next() < 0.5 ? -1 : 1) * (0.005 + 0.01 * random.next());
  for (let begin = 0; begin < bytes.length; begin += blockBytes) {
    for (const at of scales) bytes[begin + at + 1] = (random.next() < 0.5 ? 0x80 : 0) | random.integer(0x20, 0x22);
    if (format === 'MXFP4') bytes[begin] = random.integer(118, 122);
    else if (isKeyOf(GROUPS, format)) {
      for (let group = 0; group < 128 / GROUPS[format]; group++) {
        view.setFloat32(begin + 4 * group, scale(), true);
        bytes[begin + 4 * group] = random.integer(0, 16);
      }
    } else if (scales.length === 0) {
      view.setFloat32(begin, scale() / (format === 'NVFP4' ? 128 : 16), true);
      const [codes, end] = format === 'NVFP4' ? [4, 12] : [4, 132];
      for (let at = begin + codes; at < begin + end; at++) {
        if (format !== 'INT8_G128' && (bytes[at] & 0x7f) === 0x7f) bytes[at] = 1;
      }
    }
  }
  return bytes;
}
