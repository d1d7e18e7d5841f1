import { ArgumentError } from '../../../errors.ts';
import { elementCount, type Tensor } from '../../../tensor/tensor.ts';
import { HostTensor } from '../../contract/host-tensor.ts';
import { checkShape } from '../../contract/shapes.ts';
import type { CpuMemory } from './cpu-memory.ts';
import type { CpuRuntime } from './cpu-runtime.ts';

/** float32 values in a backend's WebAssembly memory. Row r of the first dimension begins `r * stride` floats in. */
export class CpuTensor implements Tensor {
  readonly dtype = 'float32';
  readonly memory: CpuMemory;
  /** Address of the first value, in bytes. */
  readonly address: number;
  readonly shape: readonly number[];
  /** Floats from row to row. */
  readonly stride: number;

  constructor(memory: CpuMemory, address: number, shape: readonly number[], stride: number) {
    this.memory = memory;
    this.address = address;
    this.shape = shape;
    this.stride = stride;
  }

  /** New memory, not cleared. Rows begin at multiples of 4 floats, so that kernels can write whole vectors. */
  static allocate(memory: CpuMemory, shape: readonly number[], rowMultiple = 4): CpuTensor {
    const { bytes, stride } = CpuTensor.layout(shape, rowMultiple);
    return new CpuTensor(memory, memory.allocate(bytes), shape, stride);
  }

  /** How {@link allocate} lays a tensor out. */
  static layout(shape: readonly number[], rowMultiple = 4): { readonly bytes: number; readonly stride: number } {
    const [rows = 1] = shape;
    const rowSize = elementCount(shape.slice(1));
    const stride = shape.length < 2 ? rowSize : roundUp(rowSize, rowMultiple);
    return { bytes: 4 * rows * stride, stride };
  }

  get rowSize(): number {
    return elementCount(this.shape.slice(1));
  }

  /** The values of row r. Valid until the memory grows. */
  row(r: number): Float32Array {
    const begin = this.address / 4 + r * this.stride;
    return this.memory.floats.subarray(begin, begin + this.rowSize);
  }

  /** Bytes from row to row. */
  get byteStride(): number {
    return 4 * this.stride;
  }

  /** These values as a host tensor. Valid until the memory grows. */
  view(): HostTensor<Float32Array> {
    return new HostTensor(this.memory.floats.subarray(this.address / 4), this.shape, this.stride);
  }
}

/** The tensor as one of this memory, with the expected shape; null accepts any extent. */
export function cpuFloats(memory: CpuMemory, x: Tensor, name: string, expected: readonly (number | null)[]): CpuTensor {
  checkShape(x, name, expected);
  if (x instanceof CpuTensor && x.memory === memory) return x;
  const found = x.dtype === 'int32' ? 'an int32 tensor' : 'a tensor of another backend';
  throw new ArgumentError(`${name} is ${found}.`, 'Pass a float32 tensor that this backend made.');
}

/** Address of a vector's values, one after another: of a copy, where they are strided. */
export function vectorAddress({ memory, kernels }: CpuRuntime, x: Tensor, name: string, length: number | null): number {
  const vector = cpuFloats(memory, x, name, [length]);
  if (vector.stride === 1 || vector.shape[0] < 2) return vector.address;
  const copy = memory.allocate(4 * vector.shape[0]);
  kernels.copyRows(vector.address, vector.byteStride, copy, 4, vector.shape[0], 4);
  return copy;
}

/** Address of `count` zeros. */
export function zeroVector({ memory, kernels }: CpuRuntime, count: number): number {
  const address = memory.allocate(4 * count);
  kernels.clear(address, 4 * count);
  return address;
}

/**
 * The tensor that an operation writes: the caller's, if whole vectors fit its rows, or else new rows that `finish` copies
 * into the caller's.
 */
export function outputFor({ memory, kernels }: CpuRuntime, out: Tensor | undefined, shape: readonly number[]) {
  if (!out) {
    const fresh = CpuTensor.allocate(memory, shape);
    return { out: fresh, finish: () => fresh };
  }
  const given = cpuFloats(memory, out, 'out', shape);
  if (given.rowSize % 4 === 0) return { out: given, finish: () => given };
  const fresh = CpuTensor.allocate(memory, shape);
  const finish = () => {
    kernels.copyRows(fresh.address, fresh.byteStride, given.address, given.byteStride, shape[0], 4 * fresh.rowSize);
    return given;
  };
  return { out: fresh, finish };
}

export function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
