import type { Backend } from '../../backends/contract/backend.ts';
import type { LinearWeight, LinearWeightWriter } from '../../backends/contract/linear.ts';
import type { WeightDType } from '../../tensor/dtype.ts';
import { elementCount, type Tensor } from '../../tensor/tensor.ts';

/** Takes one rank's values of a weight, block of rows by block of rows, in ascending order. */
export interface RowSink {
  /** @param rows whole ones, row-major; may be reused after. */
  write(rows: Float32Array): void;
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
  [outFeatures, inFeatures]: readonly [number, number],
  dtype: WeightDType,
  place: (weight: LinearWeight) => void,
): RowSink {
  return writerSink(backend.linearWeightWriter(outFeatures, inFeatures, dtype), inFeatures, place);
}

/** Writes a matrix from its first row on. */
export function writerSink(
  writer: LinearWeightWriter,
  inFeatures: number,
  place: (weight: LinearWeight) => void,
): RowSink {
  let nextRow = 0;
  return {
    write: (rows) => {
      writer.writeRows(nextRow, rows);
      nextRow += rows.length / inFeatures;
    },
    finish: () => place(writer.finish()),
  };
}
