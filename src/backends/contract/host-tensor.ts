import { ArgumentError, ShapeError } from '../../errors.ts';
import { roundKeyOrValue, type ShortKvCacheDType } from '../../tensor/kv-cache-dtype.ts';
import type { ShortStateDType } from '../../tensor/state-dtype.ts';
import { elementCount, formatShape, type Tensor } from '../../tensor/tensor.ts';
import { checkShape } from './shapes.ts';

/**
 * A tensor in JavaScript memory. Row r of the first dimension begins at `data[r * stride]`.
 *
 * @example
 * ```ts
 * const column = new HostTensor(new Float32Array([1, 2, 3, 4]), [2, 1], 2); // (2, 1): 1 and 3
 * ```
 */
export class HostTensor<A extends Float32Array | Int32Array = Float32Array | Int32Array> implements Tensor {
  readonly data: A;
  readonly shape: readonly number[];
  /** Elements from one entry of the first dimension to the next. */
  readonly stride: number;

  constructor(data: A, shape: readonly number[], stride = elementCount(shape.slice(1))) {
    const rows = shape[0] ?? 1;
    const needed = rows === 0 ? 0 : (rows - 1) * stride + elementCount(shape.slice(1));
    if (shape.some((extent) => !Number.isInteger(extent) || extent < 0) || data.length < needed) {
      throw new ShapeError(
        `${data.length} elements can't hold a tensor of shape ${formatShape(shape)} with stride ${stride}.`,
        `That takes ${needed}.`,
      );
    }
    this.data = data;
    this.shape = shape;
    this.stride = stride;
  }

  get dtype(): Tensor['dtype'] {
    return this.data instanceof Float32Array ? 'float32' : 'int32';
  }

  /** Elements in one entry of the first dimension. */
  get rowSize(): number {
    return elementCount(this.shape.slice(1));
  }
}

/**
 * A float32 tensor on the host, for calling the operations directly.
 *
 * @example
 * ```ts
 * const x = hostTensor([1, 2, 3, 4, 5, 6], [2, 3]); // two rows of three
 * ```
 */
export function hostTensor(data: Float32Array | readonly number[], shape: readonly number[]): HostTensor<Float32Array> {
  return new HostTensor(data instanceof Float32Array ? data : Float32Array.from(data), shape);
}

/**
 * An int32 tensor on the host: slots, row starts and flags.
 *
 * @example
 * ```ts
 * const queryStartLoc = hostIndices([0, 5, 8]); // two sequences, of 5 and 3 tokens
 * ```
 */
export function hostIndices(data: Int32Array | readonly number[]): HostTensor<Int32Array> {
  return new HostTensor(data instanceof Int32Array ? data : Int32Array.from(data), [data.length]);
}

/**
 * @example
 * ```ts
 * const ssmStates = hostZeros([4, 8, 64, 128]); // (slots, H, P, N)
 * ```
 */
export function hostZeros(shape: readonly number[]): HostTensor<Float32Array> {
  return new HostTensor(new Float32Array(elementCount(shape)), shape);
}

/** Values that a dtype of 16 or 8 bits has, in float32. */
class ShortHostTensor<D extends ShortStateDType | ShortKvCacheDType> extends HostTensor<Float32Array> {
  readonly #dtype: D;

  constructor(data: Float32Array, shape: readonly number[], dtype: D) {
    super(data, shape);
    this.#dtype = dtype;
  }

  override get dtype(): D {
    return this.#dtype;
  }
}

/** A state of 16 bits. */
export class HostState extends ShortHostTensor<ShortStateDType> {}

/** Keys or values of 16 or 8 bits. */
export class HostKvCache extends ShortHostTensor<ShortKvCacheDType> {
  /** The nearest values that it can have. */
  rounded(values: Float32Array): Float32Array {
    return values.map((value) => roundKeyOrValue(value, this.dtype));
  }
}

/** x as a float32 host tensor, whose shape must be `expected` (null accepts any extent). */
export function floats(x: Tensor, name: string, expected: readonly (number | null)[]): HostTensor<Float32Array> {
  checkShape(x, name, expected);
  if (!(x instanceof HostTensor) || !(x.data instanceof Float32Array)) throw notHere(x, name, 'float32');
  return x as HostTensor<Float32Array>;
}

/** The values of a float32 vector of this length, one after another. */
export function vector(x: Tensor, name: string, length: number | null): Float32Array {
  return dense(floats(x, name, [length]));
}

/** The int32 values of `x`, of shape (length). */
export function ints(x: Tensor, name: string, length: number | null): Int32Array {
  checkShape(x, name, [length]);
  if (!(x instanceof HostTensor) || !(x.data instanceof Int32Array)) throw notHere(x, name, 'int32');
  return x.data.subarray(0, x.shape[0]);
}

/** A tensor's elements without gaps: the tensor's own memory where it has none. */
export function dense(x: HostTensor<Float32Array>): Float32Array {
  const [rows = 1] = x.shape;
  const { rowSize, stride } = x;
  if (stride === rowSize || rows < 2) return x.data.subarray(0, rows * rowSize);
  const out = new Float32Array(rows * rowSize);
  for (let r = 0; r < rows; r++) out.set(x.data.subarray(r * stride, r * stride + rowSize), r * rowSize);
  return out;
}

/**
 * A copy of a tensor's elements without gaps.
 * @param reuse an array whose memory may be taken: fresh pages can cost more than the copy.
 */
export function contiguous(x: HostTensor<Float32Array>, reuse?: Float32Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  const values = dense(x);
  if (reuse === undefined || reuse.buffer.byteLength < values.byteLength) return new Float32Array(values);
  const copy = new Float32Array(reuse.buffer, 0, values.length);
  copy.set(values);
  return copy;
}

function notHere(x: Tensor, name: string, dtype: string): ArgumentError {
  const found = x instanceof HostTensor ? `a ${x.dtype} tensor` : 'a tensor of another backend';
  return new ArgumentError(`${name} is ${found}.`, `Pass a ${dtype} tensor that the reference backend made.`);
}
