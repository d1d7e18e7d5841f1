import { ArgumentError } from '../../../errors.ts';
import type { ShortKvCacheDType } from '../../../tensor/kv-cache-dtype.ts';
import type { ShortStateDType } from '../../../tensor/state-dtype.ts';
import { elementCount, type Tensor } from '../../../tensor/tensor.ts';
import { HostTensor } from '../../contract/host-tensor.ts';
import { checkShape } from '../../contract/shapes.ts';
import { WordState } from '../../contract/slots.ts';
import type { DeviceBuffer } from './gpu-memory.ts';

/** Memory of tensors. Views share it. */
export class Storage {
  /** The backend that the storage belongs to. */
  readonly owner: object;
  readonly bytes: number;
  /** Whether it was made in a scope and is gone after it: everything that reads it is known when the scope is planned. */
  readonly isTemporary: boolean;
  /** A lasting storage has a buffer from the start, a temporary one only while a plan is made. */
  buffer: DeviceBuffer | undefined;
  /** Whether the last use of a temporary storage is planned: its buffer serves others now. */
  isGone = false;

  constructor(owner: object, bytes: number, buffer?: DeviceBuffer) {
    this.owner = owner;
    this.bytes = bytes;
    this.isTemporary = buffer === undefined;
    this.buffer = buffer;
  }
}

/**
 * float32 values on the device. Row r of the first dimension begins `offset + r * stride` floats into the storage. What
 * is too large for one binding lies in several parts, each a tensor of some of the rows.
 */
export class GpuTensor implements Tensor {
  readonly dtype = 'float32';
  readonly shape: readonly number[];
  readonly offset: number;
  readonly stride: number;
  /** The tensor itself, unless it is split. */
  readonly parts: readonly TensorPart[];
  readonly #storage: Storage | undefined;

  /** @param storage of the tensor, or the parts of a split tensor. */
  constructor(storage: Storage | readonly TensorPart[], shape: readonly number[], offset: number, stride: number) {
    this.#storage = storage instanceof Storage ? storage : undefined;
    this.parts = storage instanceof Storage ? [{ firstRow: 0, tensor: this }] : storage;
    this.shape = shape;
    this.offset = offset;
    this.stride = stride;
  }

  get owner(): object {
    return this.parts[0].tensor.storage.owner;
  }

  /** @throws ArgumentError when it is split: then its parts have one each. */
  get storage(): Storage {
    if (this.#storage) return this.#storage;
    throw new ArgumentError(
      `A tensor of shape (${this.shape.join(', ')}) is larger than what the GPU can bind.`,
      'Use fewer rows at a time.',
    );
  }

  /** Elements in one entry of the first dimension. */
  get rowSize(): number {
    return elementCount(this.shape.slice(1));
  }

  /** Floats from the first element to the last, both included. */
  get span(): number {
    const [rows = 1] = this.shape;
    return rows === 0 || this.rowSize === 0 ? 0 : (rows - 1) * this.stride + this.rowSize;
  }

  get isEmpty(): boolean {
    return elementCount(this.shape) === 0;
  }
}

/** States of 16 bits (slots, H, P, N), two in each word of a tensor. */
export class GpuState extends WordState<GpuTensor, ShortStateDType> {}

/** Keys or values of 16 or 8 bits (blocks, blockSize, H, D), several in each word of a tensor. */
export class GpuKvCache extends WordState<GpuTensor, ShortKvCacheDType> {}

/** Some rows of a tensor. */
export interface TensorPart {
  readonly firstRow: number;
  readonly tensor: GpuTensor;
}

/** A view of rows [begin, end) of x. */
export function rowsOf(x: GpuTensor, begin: number, end: number): GpuTensor {
  const parts = x.parts.flatMap(({ firstRow, tensor }) => {
    const first = Math.max(begin, firstRow);
    const last = Math.min(end, firstRow + (tensor.shape[0] ?? 1));
    if (first >= last && x.parts.length > 1) return [];
    const offset = tensor.offset + (first - firstRow) * tensor.stride;
    const rows = new GpuTensor(tensor.storage, [last - first, ...x.shape.slice(1)], offset, tensor.stride);
    return [{ firstRow: first - begin, tensor: rows }];
  });
  return parts.length === 1 ? parts[0].tensor : new GpuTensor(parts, [end - begin, ...x.shape.slice(1)], 0, x.stride);
}

/** Whether two tensors are the same rows of the same memory. */
export function covers(x: GpuTensor, y: GpuTensor): boolean {
  return (
    x.parts.length === 1 &&
    y.parts.length === 1 &&
    x.storage === y.storage &&
    x.offset === y.offset &&
    x.stride === y.stride &&
    x.rowSize === y.rowSize &&
    x.shape[0] === y.shape[0]
  );
}

/** Floats from row to row in new tensors: rows begin at multiples of 16 bytes, so that kernels can read vectors. */
export function rowStride(shape: readonly number[]): number {
  const rowSize = elementCount(shape.slice(1));
  return shape.length < 2 ? 1 : Math.ceil(rowSize / 4) * 4;
}

/**
 * int32 values that both the host and the device read: slots, row starts, token ids. The device's lie one after
 * another.
 */
export class GpuIndices extends HostTensor<Int32Array> {
  readonly storage: Storage;

  constructor(storage: Storage, data: Int32Array, shape: readonly number[]) {
    super(data.slice(), shape);
    this.storage = storage;
  }
}

/** The tensor as one of this backend, with the expected shape; null accepts any extent. */
export function gpuFloats(owner: object, x: Tensor, name: string, expected: readonly (number | null)[]): GpuTensor {
  checkShape(x, name, expected);
  if (x instanceof GpuTensor && x.owner === owner) return x;
  const found = x.dtype === 'int32' ? 'an int32 tensor' : 'a tensor of another backend';
  throw new ArgumentError(`${name} is ${found}.`, 'Pass a float32 tensor that this backend made.');
}

/** The int32 vector as one of this backend, with the expected length; null accepts any. */
export function gpuIndices(owner: object, x: Tensor, name: string, length: number | null): GpuIndices {
  checkShape(x, name, [length]);
  if (x instanceof GpuIndices && x.storage.owner === owner) return x;
  const found = x.dtype === 'float32' ? 'a float32 tensor' : 'a tensor of another backend';
  throw new ArgumentError(`${name} is ${found}.`, 'Pass an int32 tensor that this backend made.');
}
