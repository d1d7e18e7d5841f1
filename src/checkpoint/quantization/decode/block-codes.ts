import type { ReadScratch } from '../../files/read-scratch.ts';

/** How the codes of a matrix come for blocks: a signed byte or an E4M3 each, or halves of bytes. */
export interface BlockCodes {
  readonly bits: 4 | 8;
  /** What is added to a code of a block for the number that the reader of floats gives: -8 where these are signed. */
  readonly base: number;
  /**
   * Codes of some rows. Of 4 bits: 16 bytes for 32 columns, with the first 16 in the lower halves. Columns are a multiple
   * of 128.
   * @param scratch the result may lie in it.
   */
  read(index: number, firstRow: number, rows: number, scratch?: ReadScratch): Promise<Uint8Array<ArrayBuffer>>;
}

/**
 * Codes that lie one after another in words, the first in the lowest bits, of 4 bits or of 8.
 * @param offset what is subtracted from a code for the number that it stands for.
 */
export function wordCodes(bits: 4 | 8, offset: number, read: BlockCodes['read']): BlockCodes {
  return {
    bits,
    base: (bits === 8 ? 128 : 0) - offset,
    async read(...range) {
      const bytes = await read(...range);
      const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
      // A code less 128 is the signed byte with the other upper bit.
      if (bits === 8) for (let i = 0; i < words.length; i++) words[i] ^= 0x80808080;
      else halveWords(words);
      return bytes;
    },
  };
}

/** Codes by way of the numbers that they stand for, where they lie in another way. */
export function roundabout(
  codes: { readRows(index: number, firstRow: number, rows: number, out: Float32Array): Promise<void> },
  columns: number,
  { bits, base }: { readonly bits: 4 | 8; readonly base: number },
): BlockCodes {
  return {
    bits,
    base,
    async read(index, firstRow, rows) {
      const numbers = new Float32Array(rows * columns);
      await codes.readRows(index, firstRow, rows, numbers);
      if (bits === 8) return new Uint8Array(Int8Array.from(numbers, (number) => number - base).buffer);
      const halves = new Uint8Array(numbers.length / 2);
      for (let i = 0; i < halves.length; i++) {
        const first = 32 * (i >> 4) + (i & 15);
        halves[i] = (numbers[first] - base) | ((numbers[first + 16] - base) << 4);
      }
      return halves;
    },
  };
}

/** Puts 32 codes of 4 bits that follow each other into halves: four words for the same four. */
function halveWords(words: Uint32Array): void {
  for (let i = 0; i < words.length; i += 4) {
    const [a, b, c, d] = [words[i], words[i + 1], words[i + 2], words[i + 3]];
    words[i] = spread(a & 0xffff) | (spread(c & 0xffff) << 4);
    words[i + 1] = spread(a >>> 16) | (spread(c >>> 16) << 4);
    words[i + 2] = spread(b & 0xffff) | (spread(d & 0xffff) << 4);
    words[i + 3] = spread(b >>> 16) | (spread(d >>> 16) << 4);
  }
}

/** Four codes of 4 bits as four bytes. */
function spread(codes: number): number {
  const pairs = (codes | (codes << 8)) & 0x00ff00ff;
  return (pairs | (pairs << 4)) & 0x0f0f0f0f;
}
