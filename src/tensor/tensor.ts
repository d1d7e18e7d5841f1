import type { ShortKvCacheDType } from './kv-cache-dtype.ts';

/**
 * An array that lives on a backend. Row-major; the first dimension may be strided (a view of some columns or rows of a
 * larger array), all others are contiguous. What holds the numbers is the backend's own business.
 */
export interface Tensor {
  readonly shape: readonly number[];
  /** Dtypes of 16 and 8 bits are those of states, keys and values: operations read and write them as float32. */
  readonly dtype: 'float32' | 'int32' | ShortKvCacheDType;
}

/** Number of elements of a shape. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

/** `(3, 4)`, as shapes are written in messages. */
export function formatShape(shape: readonly number[]): string {
  return `(${shape.join(', ')})`;
}
