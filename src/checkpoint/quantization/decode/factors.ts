import { E4M3, E8M0 } from '../../../tensor/small-floats.ts';
import type { StoredTensor } from '../../files/stored-tensor.ts';
import { readMatrixBytes } from './codes.ts';

/** What one number is for each block of a matrix: scales, zero points, biases. */
export interface FactorReader {
  /** Consecutive rows that one row of factors covers; Infinity: all. */
  readonly rowsPerFactor: number;
  /** Factors in a row. */
  readonly groups: number;
  /** The factors of some rows of the matrix: rows of factors, from the one that covers `firstRow` on. */
  readRows(index: number, firstRow: number, rows: number): Promise<Float64Array>;
  /** Drops what was kept between reads. */
  release?(): void;
}

/** How the bytes of a tensor of factors become numbers; `float`: as those of any tensor of floats. */
export type FactorValues = 'float' | 'signed' | Float32Array;

/** What scales of this dtype are read with. Undefined: they can't be scales. */
export function scaleValues(dtype: string): FactorValues | undefined {
  if (dtype === 'F8_E4M3') return E4M3;
  // Exponents of 8 bits have had no dtype of their own for long.
  if (dtype === 'F8_E8M0' || dtype === 'U8') return E8M0;
  return isFloat(dtype) ? 'float' : undefined;
}

/** Whether a tensor of this dtype holds floats that need no scale. */
export function isFloat(dtype: string): boolean {
  return dtype === 'F32' || dtype === 'BF16' || dtype === 'F16' || dtype === 'F64';
}

/** What multiplies or divides all factors of a matrix. */
export interface GlobalFactor {
  /** Tensor with one value, or with one for each matrix in a stack. */
  readonly tensor: StoredTensor;
  readonly isReciprocal: boolean;
}

/** Factors that lie in a tensor (rows of factors, groups), or in one more dimension for a stack of matrices. */
export class TensorFactors implements FactorReader {
  readonly rowsPerFactor: number;
  readonly groups: number;
  readonly tensor: StoredTensor;
  readonly values: FactorValues;
  readonly #global: GlobalFactor | undefined;
  /** Number that every factor is divided by. */
  readonly divisor: number;
  readonly #isPerMatrix: boolean;
  #kept: Promise<Float64Array> | undefined;
  #keptGlobal: Promise<Float32Array> | undefined;

  /** @param options.isPerMatrix the first dimension counts matrices of a stack. */
  constructor(
    tensor: StoredTensor,
    values: FactorValues,
    options: {
      readonly rowsPerFactor: number;
      readonly groups: number;
      readonly isPerMatrix: boolean;
      readonly global?: GlobalFactor | undefined;
      /** Number that every factor is divided by. Default: 1. */
      readonly divisor?: number | undefined;
    },
  ) {
    this.rowsPerFactor = options.rowsPerFactor;
    this.groups = options.groups;
    this.tensor = tensor;
    this.values = values;
    this.#global = options.global;
    this.divisor = options.divisor ?? 1;
    this.#isPerMatrix = options.isPerMatrix;
  }

  async readRows(index: number, firstRow: number, rows: number): Promise<Float64Array> {
    const first = Math.floor(firstRow / this.rowsPerFactor);
    const end = Math.floor((firstRow + rows - 1) / this.rowsPerFactor) + 1;
    const stored = await this.#factors(index, first, end);
    const factors = this.divisor === 1 ? stored : stored.map((factor) => factor / this.divisor);
    if (this.#global === undefined) return factors;
    const global = await this.readGlobal(index);
    // A factor has 8 bits and the global one 24, so their product is exact.
    return factors.map((factor) => factor * global);
  }

  /** What multiplies all factors of a matrix. One that divides them is turned into a float32 that multiplies, as in vLLM. */
  async readGlobal(index: number): Promise<number> {
    if (this.#global === undefined) return 1;
    this.#keptGlobal ??= this.#global.tensor.readFloat32();
    const all = await this.#keptGlobal;
    const global = all[all.length === 1 ? 0 : index];
    return this.#global.isReciprocal ? Math.fround(1 / global) : global;
  }

  /** Whether all factors of a matrix, or a stack, are multiplied by one more. */
  get isScaled(): boolean {
    return this.#global !== undefined;
  }

  /** The bytes of the factors of some rows of the matrix, where each row has its own. */
  async readCodes(index: number, firstRow: number, rows: number): Promise<Uint8Array> {
    if (!this.#isPerMatrix) return this.tensor.readBytes({ firstRow, rows });
    const whole = await this.tensor.readBytes({ firstRow: index, rows: 1 });
    return whole.subarray(firstRow * this.groups, (firstRow + rows) * this.groups);
  }

  release(): void {
    this.#kept = undefined;
    this.#keptGlobal = undefined;
  }

  async #factors(index: number, first: number, end: number): Promise<Float64Array> {
    if (this.#isPerMatrix) {
      const whole = await this.#read(index, 1);
      return whole.subarray(first * this.groups, end * this.groups);
    }
    if (this.rowsPerFactor !== Infinity) return this.#read(first, end - first);
    // Few: every block of the weight needs them.
    this.#kept ??= this.#read(0, 1);
    return this.#kept;
  }

  async #read(firstRow: number, rows: number): Promise<Float64Array> {
    const range = { firstRow, rows };
    if (this.values === 'float') return new Float64Array(await this.tensor.readFloat32(range));
    const bytes = await this.tensor.readBytes(range);
    const table = this.values;
    return table === 'signed'
      ? new Float64Array(new Int8Array(bytes.buffer))
      : Float64Array.from(bytes, (b) => table[b]);
  }
}

/** Zero points that are packed along the rows of their matrix: (words, groups), the first row's in the lowest bits. */
export class PackedRowFactors implements FactorReader {
  readonly rowsPerFactor = 1;
  readonly groups: number;
  readonly #tensor: StoredTensor;
  readonly #bits: number;
  readonly #perWord: number | undefined;

  /** @param perWord codes in a word, where words are not filled to their last bit. */
  constructor(tensor: StoredTensor, groups: number, bits: number, perWord: number | undefined) {
    this.groups = groups;
    this.#tensor = tensor;
    this.#bits = bits;
    this.#perWord = perWord;
  }

  async readRows(index: number, firstRow: number, rows: number): Promise<Float64Array> {
    const { groups } = this;
    const bitOf = (row: number) =>
      this.#perWord === undefined
        ? row * this.#bits
        : Math.floor(row / this.#perWord) * 32 + (row % this.#perWord) * this.#bits;
    const firstWord = Math.floor(bitOf(firstRow) / 32);
    const lastWord = Math.floor((bitOf(firstRow + rows - 1) + this.#bits - 1) / 32);
    const bytes = await readMatrixBytes(this.#tensor, index, firstWord, lastWord + 1 - firstWord);
    const words = new Uint32Array(bytes.buffer, 0, bytes.length / 4);
    const factors = new Float64Array(rows * groups);
    const mask = 2 ** this.#bits - 1;
    const offset = 2 ** (this.#bits - 1);
    for (let row = 0; row < rows; row++) {
      const bit = bitOf(firstRow + row) - 32 * firstWord;
      const [word, shift] = [Math.floor(bit / 32), bit % 32];
      for (let group = 0; group < groups; group++) {
        const low = words[word * groups + group] >>> shift;
        const high = shift + this.#bits > 32 ? words[(word + 1) * groups + group] << (32 - shift) : 0;
        factors[row * groups + group] = ((low | high) & mask) - offset;
      }
    }
    return factors;
  }
}
