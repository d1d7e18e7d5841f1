import type { MatmulPrecision } from '../../../tensor/matmul-precision.ts';
import { elementCount, type Tensor } from '../../../tensor/tensor.ts';
import type { DeviceRows } from '../kernels/parameters.ts';
import type { Grid } from '../launch/launch.ts';
import type { CudaDevice } from './cuda-device.ts';
import type { CudaMemory } from './cuda-memory.ts';
import { CudaIndices, CudaTensor, cudaFloats, cudaIndices, rowStride } from './cuda-tensor.ts';

/** Threads of a block where each has an element. */
const BLOCK = 256;
/** The kind of elementwise that copies: see rows.cu. */
const COPY = 4;
/** Bytes up to which a kernel writes a result to host memory: by the copy engine the next step would wait 5 µs longer. */
const SMALL_RESULT = 16_384;

/** The context in which the operations of one backend check their arguments and enqueue kernels. */
export class CudaCalls {
  /** Stands for the backend in what it makes. */
  readonly owner: object;
  readonly device: CudaDevice;
  readonly memory: CudaMemory;
  readonly matmulPrecision: MatmulPrecision;

  constructor(owner: object, device: CudaDevice, memory: CudaMemory, matmulPrecision: MatmulPrecision) {
    this.owner = owner;
    this.device = device;
    this.memory = memory;
    this.matmulPrecision = matmulPrecision;
  }

  /** The tensor as one of this backend. @throws ShapeError, ArgumentError */
  floats(x: Tensor, name: string, expected: readonly (number | null)[]): CudaTensor {
    return cudaFloats(this.owner, x, name, expected);
  }

  /** The tensor, if there is one, as one of this backend. @throws ShapeError, ArgumentError */
  optional(x: Tensor | undefined, name: string, expected: readonly (number | null)[]): CudaTensor | undefined {
    return x && this.floats(x, name, expected);
  }

  /** The int32 vector as one of this backend. @throws ShapeError, ArgumentError */
  indices(x: Tensor, name: string, length: number | null): CudaIndices {
    return cudaIndices(this.owner, x, name, length);
  }

  /** A new tensor, whose values are not set. */
  make(shape: readonly number[]): CudaTensor {
    const stride = rowStride(shape);
    return new CudaTensor(this.owner, this.memory.allocate(4 * (shape[0] ?? 1) * stride), shape, stride);
  }

  /** The tensor that the caller wants the result in, or a new one. */
  target(out: Tensor | undefined, shape: readonly number[]): CudaTensor {
    return out ? this.floats(out, 'out', shape) : this.make(shape);
  }

  /** A new int32 vector of values that the host knows. */
  newIndices(data: Int32Array, shape: readonly number[] = [data.length]): CudaIndices {
    const address = this.memory.allocate(data.byteLength);
    this.upload(address, data);
    return new CudaIndices(this.owner, address, data, shape);
  }

  /** Copies host memory, which may be reused after. */
  upload(address: number, data: ArrayBufferView): void {
    if (data.byteLength === 0 || this.device.isDry) return;
    this.device.call('cuMemcpyHtoDAsync', address, data, data.byteLength, this.device.stream);
  }

  copy(to: number, from: number, bytes: number): void {
    if (bytes === 0 || this.device.isDry) return;
    this.device.complete(from);
    this.device.call('cuMemcpyDtoDAsync', to, from, bytes, this.device.stream);
  }

  /** Sets bytes to 0. */
  clear(address: number, bytes: number): void {
    if (bytes === 0 || this.device.isDry) return;
    this.device.call('cuMemsetD8Async', address, 0, bytes, this.device.stream);
  }

  /** The numbers of a tensor in host memory, contiguous, once all that is enqueued now has run. */
  async read(x: CudaTensor, reuse?: Float32Array<ArrayBuffer>): Promise<Float32Array<ArrayBuffer>> {
    const count = elementCount(x.shape);
    const fits = reuse !== undefined && reuse.buffer.byteLength >= 4 * count;
    const out = fits ? new Float32Array(reuse.buffer, 0, count) : new Float32Array(count);
    if (count === 0) return out;
    const [rows = 1] = x.shape;
    const { rowSize } = x;
    const isSmall = 4 * count <= SMALL_RESULT;
    const stride = isSmall ? rowSize : x.stride;
    const span = (rows - 1) * stride + rowSize;
    this.device.complete(x.address);
    return this.memory.withPinned(4 * span, async ({ address, bytes }) => {
      if (isSmall) {
        const copy = { x, y: undefined, out: { address, stride }, T: rows, C: rowSize, kind: COPY, factor: 1 };
        this.device.launch('elementwise', elementGrid(rows, rowSize), copy);
      } else this.device.call('cuMemcpyDtoHAsync', address, x.address, 4 * span, this.device.stream);
      await this.device.finished();
      const values = new Float32Array(bytes, 0, span);
      if (stride === rowSize) out.set(values);
      else for (let r = 0; r < rows; r++) out.set(values.subarray(r * stride, r * stride + rowSize), r * rowSize);
      return out;
    });
  }
}

/** A grid with a thread for each of T * C elements. */
export function elementGrid(T: number, C: number): Grid {
  return { blocks: [Math.ceil((T * C) / BLOCK)], threads: BLOCK };
}

/** What a kernel is given for a vector or matrix that may be missing. */
export function flag(x: DeviceRows | boolean | undefined): 0 | 1 {
  return x ? 1 : 0;
}
