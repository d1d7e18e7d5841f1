import type { Backend } from '../../backends/contract/backend.ts';
import type { BlockWeightWriter, LinearWeight, LinearWeightWriter } from '../../backends/contract/linear.ts';
import { UnsupportedDTypeError } from '../../errors.ts';
import { type BlockFormat, blockRowBytes, isBlockFormat, type MatrixDType } from '../../tensor/block-formats.ts';
import { elementCount, type Tensor } from '../../tensor/tensor.ts';

/** Takes one rank's values of a weight, block of rows by block of rows, in ascending order. */
export interface RowSink {
  /** @param rows whole ones, row-major; may be reused after. */
  write(rows: Float32Array): void;
  /** Takes rows of a matrix that is kept in the blocks of its file. Absent: the matrix is kept as values. */
  writeBlocks?(rows: Uint8Array): void;
  /** Ends the weight: all rows have come. */
  finish(): void;
}

/** Collects a small weight and hands it over as a whole. */
export function valuesSink(count: number, place: (values: Float32Array) => void): RowSink {
  const values = new Float32Array(count);
  let filled = 0;
  return {
    write: (rows) => {
      values.set(rows, filled);
      filled += rows.length;
    },
    finish: () => place(values),
  };
}

/**
 * Makes a small weight a tensor.
 *
 * @example
 * ```ts
 * const sink = tensorSink(backend, [512], (weight) => console.log(weight.shape));
 * sink.write(new Float32Array(512));
 * sink.finish(); // [512]
 * ```
 */
export function tensorSink(backend: Backend, shape: readonly number[], place: (tensor: Tensor) => void): RowSink {
  return valuesSink(elementCount(shape), (values) => place(backend.tensor(values, shape)));
}

/**
 * Makes a matrix that is never there as a whole in float32.
 * @param shape (outFeatures, inFeatures) on this rank. Rows that do not come are zeros.
 * @param dtype of values, or the format of blocks that come in their place.
 *
 * @example
 * ```ts
 * const sink = linearWeightSink(backend, [1024, 256], 'int8', (weight) => console.log(weight));
 * for (let row = 0; row < 1024; row += 128) sink.write(new Float32Array(128 * 256)); // 128 rows at a time
 * sink.finish();
 * ```
 */
export function linearWeightSink(
  backend: Backend,
  shape: readonly [number, number],
  dtype: MatrixDType,
  place: (weight: LinearWeight) => void,
): RowSink {
  return writerSink(matrixWriter(backend, shape, dtype), place);
}

/** Writes a matrix from its first row on. */
export function writerSink(writer: MatrixWriter, place: (weight: LinearWeight) => void): RowSink {
  return { ...rowsFrom(writer, 0), finish: () => place(writer.finish()) };
}

/** Takes rows of a matrix wherever they belong: values, or blocks as a file holds them. */
export interface MatrixWriter {
  /** Returns the number of rows. */
  writeRows(firstRow: number, values: Float32Array): number;
  /** Takes rows in the blocks of their file, and returns their number. Absent: the matrix is kept as values. */
  writeBlocks?(firstRow: number, blocks: Uint8Array): number;
  finish(): LinearWeight;
}

/** @throws UnsupportedDTypeError when `dtype` is a format whose blocks the backend does not keep. */
export function matrixWriter(
  backend: Backend,
  [outFeatures, inFeatures]: readonly [number, number],
  dtype: MatrixDType,
): MatrixWriter {
  if (!isBlockFormat(dtype)) {
    return valuesWriter(backend.linearWeightWriter(outFeatures, inFeatures, dtype), inFeatures);
  }
  const isKept = backend.blockFormats?.has(dtype) ?? false;
  const writer = isKept ? backend.blockWeightWriter?.(outFeatures, inFeatures, dtype) : undefined;
  if (writer === undefined) {
    throw new UnsupportedDTypeError(`The backend '${backend.name}' does not keep weights as ${dtype}.`);
  }
  return blocksWriter(writer, inFeatures, dtype);
}

/**
 * Writers of the matrices of one kind of all experts of a mixture. Undefined if the backend does not write them together.
 */
export function expertWriters(
  backend: Backend,
  count: number,
  [outFeatures, inFeatures]: readonly [number, number],
  dtype: MatrixDType,
): readonly MatrixWriter[] | undefined {
  if (isBlockFormat(dtype)) {
    const writers = backend.expertBlockWriters?.(count, outFeatures, inFeatures, dtype);
    return writers?.map((writer) => blocksWriter(writer, inFeatures, dtype));
  }
  const writers = backend.expertWeightWriters?.(count, outFeatures, inFeatures, dtype);
  return writers?.map((writer) => valuesWriter(writer, inFeatures));
}

function blocksWriter(writer: BlockWeightWriter, inFeatures: number, format: BlockFormat): MatrixWriter {
  const rowBytes = blockRowBytes(format, inFeatures);
  return {
    writeRows: () => {
      throw new UnsupportedDTypeError(`A matrix of ${format} blocks was given values.`);
    },
    writeBlocks: (firstRow, blocks) => {
      writer.writeBlocks(firstRow, blocks);
      return blocks.length / rowBytes;
    },
    finish: () => writer.finish(),
  };
}

function valuesWriter(writer: LinearWeightWriter, inFeatures: number): MatrixWriter {
  return {
    writeRows: (firstRow, values) => {
      writer.writeRows(firstRow, values);
      return values.length / inFeatures;
    },
    finish: () => writer.finish(),
  };
}

/** Sink of rows that follow each other from `firstRow` on. The writer's owner ends it. */
export function rowsFrom(writer: Omit<MatrixWriter, 'finish'>, firstRow: number): Omit<RowSink, 'finish'> {
  let nextRow = firstRow;
  const { writeBlocks } = writer;
  return {
    write: (values) => {
      nextRow += writer.writeRows(nextRow, values);
    },
    ...(writeBlocks && {
      writeBlocks: (blocks: Uint8Array) => {
        nextRow += writeBlocks(nextRow, blocks);
      },
    }),
  };
}
