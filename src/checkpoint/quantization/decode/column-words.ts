import type { StoredTensor } from '../../files/stored-tensor.ts';
import { type BlockCodes, roundabout, wordCodes } from './block-codes.ts';
import type { CodeReader } from './codes.ts';
import type { FactorReader } from './factors.ts';

/**
 * Matrices that are stored with their inputs first, as words of 32 bits. Rows of outputs are then spread over the whole
 * tensor: it is read once, kept as it is stored, and let go of with the last row.
 */
class KeptWords {
  readonly #tensor: StoredTensor;
  #words: Promise<Uint32Array> | undefined;

  constructor(tensor: StoredTensor) {
    this.#tensor = tensor;
  }

  async get(): Promise<Uint32Array> {
    this.#words ??= this.#tensor.readBytes().then(({ buffer, length }) => new Uint32Array(buffer, 0, length / 4));
    try {
      return await this.#words;
    } catch (error) {
      this.release();
      throw error;
    }
  }

  release(): void {
    this.#words = undefined;
  }
}

/** Words of an output that are gathered together: those of a line of the cache. */
const WORDS_TOGETHER = 16;

/** Codes along the inputs in words: (inputs * bits / 32, outputs), one input after another from the lowest bit on. */
export function inputPackedCodes(tensor: StoredTensor, bits: number, columns: number): CodeReader {
  const kept = new KeptWords(tensor);
  const [, outputs] = tensor.shape;
  const mask = 2 ** bits - 1;
  const codes: CodeReader = {
    async readRows(_, firstRow, rows, out) {
      const words = await kept.get();
      for (let column = 0; column < columns; column++) {
        const bit = column * bits;
        const shift = bit % 32;
        const begin = Math.floor(bit / 32) * outputs + firstRow;
        if (shift + bits <= 32) {
          for (let row = 0; row < rows; row++) out[row * columns + column] = (words[begin + row] >>> shift) & mask;
        } else {
          for (let row = 0; row < rows; row++) {
            const high = words[begin + outputs + row] << (32 - shift);
            out[row * columns + column] = ((words[begin + row] >>> shift) | high) & mask;
          }
        }
      }
      if (firstRow + rows === outputs) kept.release();
    },
    release: () => kept.release(),
  };
  /** The words of some outputs, one output after another. */
  const gathered: BlockCodes['read'] = async (_, firstRow, rows) => {
    const words = await kept.get();
    const perRow = words.length / outputs;
    const out = new Uint32Array(rows * perRow);
    for (let first = 0; first < perRow; first += WORDS_TOGETHER) {
      const end = Math.min(first + WORDS_TOGETHER, perRow);
      for (let row = 0; row < rows; row++) {
        for (let word = first; word < end; word++) out[row * perRow + word] = words[word * outputs + firstRow + row];
      }
    }
    if (firstRow + rows === outputs) kept.release();
    return new Uint8Array(out.buffer);
  };
  const isWhole = bits === 4 || bits === 8;
  return {
    ...codes,
    blocks: isWhole ? wordCodes(bits, 0, gathered) : roundabout(codes, columns, { bits: 4, base: 0 }),
  };
}

/**
 * Codes along the outputs in words: (inputs, outputs / 8), of 4 bits.
 * @param positions of the eight outputs of a word, in codes from the lowest bit on.
 */
export function outputPackedCodes(tensor: StoredTensor, positions: readonly number[], columns: number): CodeReader {
  const kept = new KeptWords(tensor);
  const perRow = tensor.shape[1];
  /** Codes of some outputs in halves of bytes. */
  const halves: BlockCodes['read'] = async (_, firstRow, rows) => {
    const words = await kept.get();
    const rowWords = columns / 8;
    const out = new Uint32Array(rows * rowWords);
    const endWord = (firstRow + rows + 7) >> 3;
    for (let first = 0; first < columns; first += 32) {
      for (let word = firstRow >> 3; word < endWord; word++) {
        for (let output = 0; output < 8; output++) {
          const row = 8 * word + output - firstRow;
          if (row < 0 || row >= rows) continue;
          const shift = 4 * positions[output];
          for (let i = 0; i < 4; i++) {
            let halves = 0;
            for (let byte = 0; byte < 4; byte++) {
              const at = (first + 4 * i + byte) * perRow + word;
              halves |= ((words[at] >>> shift) & 15) << (8 * byte);
              halves |= ((words[at + 16 * perRow] >>> shift) & 15) << (8 * byte + 4);
            }
            out[row * rowWords + first / 8 + i] = halves;
          }
        }
      }
    }
    if (firstRow + rows === 8 * perRow) kept.release();
    return new Uint8Array(out.buffer);
  };
  return {
    blocks: { bits: 4, base: 0, read: halves },
    async readRows(_, firstRow, rows, out) {
      const words = await kept.get();
      for (let row = 0; row < rows; row++) {
        const output = firstRow + row;
        const word = output >> 3;
        const shift = 4 * positions[output & 7];
        for (let column = 0; column < columns; column++) {
          out[row * columns + column] = (words[column * perRow + word] >>> shift) & 15;
        }
      }
      if (firstRow + rows === 8 * perRow) kept.release();
    },
    release: () => kept.release(),
  };
}

/** Scales that are stored with their groups first: (groups, outputs). */
export function transposedScales(tensor: StoredTensor): FactorReader {
  let kept: Promise<Float32Array> | undefined;
  const [groups, outputs] = tensor.shape;
  return {
    rowsPerFactor: 1,
    groups,
    async readRows(_, firstRow, rows) {
      kept ??= tensor.readFloat32();
      const values = await kept;
      const factors = new Float64Array(rows * groups);
      for (let row = 0; row < rows; row++) {
        for (let group = 0; group < groups; group++) {
          factors[row * groups + group] = values[group * outputs + firstRow + row];
        }
      }
      return factors;
    },
    release: () => {
      kept = undefined;
    },
  };
}

/**
 * Zero points that are packed along the outputs: (groups, outputs * bits / 32).
 * @param options.position of an output's code in its row, in codes. Default: in order.
 * @param options.added to each code before it is cut to its bits: the first version of GPTQ stores one less.
 */
export function outputPackedZeros(
  tensor: StoredTensor,
  bits: number,
  { position = (output) => output, added = 0 }: { position?: (output: number) => number; added?: number } = {},
): FactorReader {
  const kept = new KeptWords(tensor);
  const [groups, perRow] = tensor.shape;
  const mask = 2 ** bits - 1;
  return {
    rowsPerFactor: 1,
    groups,
    async readRows(_, firstRow, rows) {
      const words = await kept.get();
      const factors = new Float64Array(rows * groups);
      for (let row = 0; row < rows; row++) {
        const bit = position(firstRow + row) * bits;
        const [word, shift] = [Math.floor(bit / 32), bit % 32];
        for (let group = 0; group < groups; group++) {
          const at = group * perRow + word;
          const high = shift + bits > 32 ? words[at + 1] << (32 - shift) : 0;
          factors[row * groups + group] = (((words[at] >>> shift) | high) + added) & mask;
        }
      }
      return factors;
    },
    release: () => kept.release(),
  };
}
