import { ArgumentError } from '../../../errors.ts';
import type { ShortKvCacheDType } from '../../../tensor/kv-cache-dtype.ts';
import type { ShortStateDType } from '../../../tensor/state-dtype.ts';
import { elementCount, type Tensor } from '../../../tensor/tensor.ts';
import { HostTensor } from '../../contract/host-tensor.ts';
import { checkShape } from '../../contract/shapes.ts';
import { WordState } from '../../contract/slots.ts';
import type { DeviceRows } from '../kernels/parameters.ts';

/** float32 values on the device. Row r of the first dimension begins `r * stride` floats after the address. */
export class CudaTensor implements Tensor, DeviceRows {
  readonly dtype = 'float32';
  /** The backend that it belongs to. */
  readonly owner: object;
  readonly address: number;
  readonly shape: readonly number[];
  readonly stride: number;

  constructor(owner: object, address: number, shape: readonly number[], stride: number) {
    this.owner = owner;
    this.address = address;
    this.shape = shape;
    this.stride = stride;
  }

  /** Elements in one entry of the first dimension. */
  get rowSize(): number {
    return elementCount(this.shape.slice(1));
  }

  get isEmpty(): boolean {
    return elementCount(this.shape) === 0;
  }

  /** Whether rows begin at multiples of 16 bytes, so that kernels can read vectors. */
  get isAligned(): boolean {
    return this.address % 16 === 0 && this.stride % 4 === 0;
  }

  /** A tensor over the same memory under another shape, from another column on, or with other strides. */
  view(shape: readonly number[], column = 0, stride = this.stride): CudaTensor {
    return new CudaTensor(this.owner, this.address + 4 * column, shape, stride);
  }
}

/** Rows' weights for experts (T, E), of which each row has up to `mostVisits`. */
export class CudaRouting extends CudaTensor {
  readonly mostVisits: number;

  constructor(owner: object, address: number, shape: readonly number[], stride: number, mostVisits: number) {
    super(owner, address, shape, stride);
    this.mostVisits = mostVisits;
  }
}

/** States of 16 bits (slots, H, P, N), two in each word of a tensor. */
export class CudaState extends WordState<CudaTensor, ShortStateDType> {}

/** Keys or values of 16 or 8 bits (blocks, blockSize, H, D), several in each word of a tensor. */
export class CudaKvCache extends WordState<CudaTensor, ShortKvCacheDType> {}

/** Floats from row to row in new tensors: rows begin at multiples of 16 bytes. */
export function rowStride(shape: readonly number[]): number {
  return shape.length < 2 ? 1 : Math.ceil(elementCount(shape.slice(1)) / 4) * 4;
}

/** int32 values that both the host and the device read: slots, row starts, token ids. */
export class CudaIndices extends HostTensor<Int32Array> {
  readonly owner: object;
  readonly address: number;

  constructor(owner: object, address: number, data: Int32Array, shape: readonly number[] = [data.length]) {
    super(data.slice(), shape);
    this.owner = owner;
    this.address = address;
  }
}

/** The tensor as one of this backend, with the expected shape; null accepts any extent. @throws ShapeError, ArgumentError */
export function cudaFloats(owner: object, x: Tensor, name: string, expected: readonly (number | null)[]): CudaTensor {
  checkShape(x, name, expected);
  if (x instanceof CudaTensor && x.owner === owner) return x;
  const found = x.dtype === 'int32' ? 'an int32 tensor' : 'a tensor of another backend';
  throw new ArgumentError(`${name} is ${found}.`, 'Pass a float32 tensor that this backend made.');
}

/** The int32 vector as one of this backend, with the expected length; null accepts any. @throws ShapeError, ArgumentError */
export function cudaIndices(owner: object, x: Tensor, name: string, length: number | null): CudaIndices {
  checkShape(x, name, [length]);
  if (x instanceof CudaIndices && x.owner === owner) return x;
  const found = x.dtype === 'float32' ? 'a float32 tensor' : 'a tensor of another backend';
  throw new ArgumentError(`${name} is ${found}.`, 'Pass an int32 tensor that this backend made.');
}
