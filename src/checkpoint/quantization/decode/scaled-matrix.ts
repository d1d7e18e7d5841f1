import type { CodeReader } from './codes.ts';
import type { FactorReader } from './factors.ts';
import type { MatrixReader } from './matrix-reader.ts';

export interface ScaledParts {
  readonly columns: number;
  readonly codes: CodeReader;
  readonly scales: FactorReader;
  /** Subtracted from a code before it is scaled. As many as there are scales. */
  readonly zeroPoints?: FactorReader | undefined;
  /** Added to a scaled code. As many as there are scales. */
  readonly biases?: FactorReader | undefined;
  /** Consecutive columns of one scale; the last may be fewer. Infinity: all. */
  readonly columnsPerScale: number;
  /** The group of each column, where they are not in order. */
  readonly groupOfColumn?: (() => Promise<Uint32Array | undefined>) | undefined;
}

/**
 * Matrices of codes with a scale for each block of them: (code - zero point) * scale, or code * scale + bias, in double
 * precision and rounded once.
 */
export class ScaledMatrix implements MatrixReader {
  readonly #parts: ScaledParts;
  #groups: Promise<Uint32Array | undefined> | undefined;

  constructor(parts: ScaledParts) {
    this.#parts = parts;
  }

  async readRows(index: number, firstRow: number, rows: number, out: Float32Array): Promise<void> {
    const { columns, codes, scales, zeroPoints, biases, columnsPerScale, groupOfColumn } = this.#parts;
    await codes.readRows(index, firstRow, rows, out);
    const factors = await scales.readRows(index, firstRow, rows);
    const zeros = await zeroPoints?.readRows(index, firstRow, rows);
    const added = await biases?.readRows(index, firstRow, rows);
    this.#groups ??= groupOfColumn?.();
    const groupOf = await this.#groups;
    const { groups, rowsPerFactor } = scales;
    const firstFactor = Math.floor(firstRow / rowsPerFactor);
    const extent = Math.min(columnsPerScale, columns);
    for (let row = 0; row < rows; row++) {
      const factorRow = (Math.floor((firstRow + row) / rowsPerFactor) - firstFactor) * groups;
      if (groupOf !== undefined) {
        for (let column = 0; column < columns; column++) {
          const i = row * columns + column;
          const at = factorRow + groupOf[column];
          out[i] = (out[i] - (zeros?.[at] ?? 0)) * factors[at];
        }
        continue;
      }
      for (let group = 0; group < groups; group++) {
        const at = factorRow + group;
        const scale = factors[at];
        const begin = row * columns + group * extent;
        const end = Math.min(begin + extent, (row + 1) * columns);
        if (zeros !== undefined) {
          const zero = zeros[at];
          for (let i = begin; i < end; i++) out[i] = (out[i] - zero) * scale;
        } else if (added !== undefined) {
          const bias = added[at];
          for (let i = begin; i < end; i++) out[i] = out[i] * scale + bias;
        } else {
          for (let i = begin; i < end; i++) out[i] *= scale;
        }
      }
    }
  }

  release(): void {
    const { codes, scales, zeroPoints, biases } = this.#parts;
    for (const part of [codes, scales, zeroPoints, biases]) part?.release?.();
    this.#groups = undefined;
  }
}
