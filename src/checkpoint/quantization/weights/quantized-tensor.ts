import { blockRowBytes } from '../../../tensor/block-formats.ts';
import { bytesFor } from '../../files/byte-source.ts';
import type { ReadScratch } from '../../files/read-scratch.ts';
import { type RowRange, resolveRows } from '../../files/row-range.ts';
import type { StoredBlocks, StoredTensor } from '../../files/stored-tensor.ts';
import type { MatrixReader } from '../decode/matrix-reader.ts';
import type { BlockReader } from './block-rows.ts';
import { scaleCoverage, type WeightLayout } from './weight-layout.ts';

/** What a quantised weight is made of. */
export interface QuantizedParts {
  readonly name: string;
  /** (outputs, inputs), or a stack of these. */
  readonly shape: readonly number[];
  readonly layout: WeightLayout;
  readonly codes: StoredTensor;
  /** All tensors that the weight is made of, the codes included. */
  readonly stored: readonly StoredTensor[];
  readonly reader: MatrixReader;
  /** Absent: no format of blocks has exactly its values. */
  readonly blockReader?: BlockReader | undefined;
}

/** A weight that a tool has quantised, as the tensor of floats that it stands for. */
export class QuantizedTensor implements StoredTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly file: string;
  readonly byteLength: number;
  readonly isSequential: boolean;
  readonly problem = undefined;
  readonly layout: WeightLayout;
  readonly blocks: StoredBlocks | undefined;
  readonly #name: string;
  readonly #reader: MatrixReader;

  constructor({ name, shape, layout, codes, stored, reader, blockReader }: QuantizedParts) {
    this.dtype = `${layout.format} (${scaleCoverage(layout)})`;
    this.shape = shape;
    this.file = codes.file;
    this.byteLength = stored.reduce((sum, { byteLength }) => sum + byteLength, 0);
    this.isSequential = codes.isSequential;
    this.layout = layout;
    this.#name = name;
    this.#reader = reader;
    this.blocks = blockReader && {
      format: blockReader.format,
      read: async (range, scratch) => this.#readBlocks(blockReader, range, scratch),
    };
  }

  async readFloat32(range: RowRange = {}, scratch?: ReadScratch): Promise<Float32Array> {
    const { firstRow, rows } = resolveRows(this.#name, this.shape, range);
    const [matrixRows, columns] = this.shape.slice(-2);
    const isStack = this.shape.length === 3;
    const matrixSize = matrixRows * columns;
    const count = rows * (isStack ? matrixSize : columns);
    const out = scratch?.floats(count) ?? new Float32Array(count);
    if (!isStack) {
      if (rows > 0) await this.#reader.readRows(0, firstRow, rows, out);
      return out;
    }
    for (let i = 0; i < rows; i++) {
      const matrix = out.subarray(i * matrixSize, (i + 1) * matrixSize);
      await this.#reader.readRows(firstRow + i, 0, matrixRows, matrix);
    }
    return out;
  }

  /** The bytes of its values: the codes alone mean nothing, and lie in several tensors with their scales. */
  async readBytes(range: RowRange = {}): Promise<Uint8Array<ArrayBuffer>> {
    const { buffer } = Float32Array.from(await this.readFloat32(range));
    return new Uint8Array(buffer);
  }

  async #readBlocks(
    reader: BlockReader,
    range: RowRange = {},
    scratch?: ReadScratch,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { firstRow, rows } = resolveRows(this.#name, this.shape, range);
    const [matrixRows, columns] = this.shape.slice(-2);
    const rowBytes = blockRowBytes(reader.format, columns);
    if (this.shape.length < 3) {
      const out = bytesFor(rows * rowBytes, scratch?.bytes);
      if (rows > 0) await reader.readRows(0, firstRow, rows, out, scratch?.inner);
      return out;
    }
    const size = matrixRows * rowBytes;
    const out = bytesFor(rows * size, scratch?.bytes);
    for (let i = 0; i < rows; i++) {
      await reader.readRows(firstRow + i, 0, matrixRows, out.subarray(i * size, (i + 1) * size), scratch?.inner);
    }
    return out;
  }

  release(): void {
    this.#reader.release();
  }
}
