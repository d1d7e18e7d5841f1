import { elementCount } from '../../../tensor/tensor.ts';
import { checkSlot, hostSlotValues, type SavedSlot } from '../../contract/slots.ts';
import type { GpuDevice } from '../device/gpu-device.ts';
import { GpuSavedSlot } from '../device/gpu-saved-slot.ts';
import { GpuTensor, rowStride, Storage, type TensorPart } from '../device/gpu-tensor.ts';
import type { PendingWork } from './pending-work.ts';

/** Tensors and slots: how they are made, copied and read. */
export class GpuArrays {
  readonly #owner: object;
  readonly #work: PendingWork;
  /** Bytes that one buffer, and one binding, can have. */
  readonly #maxBytes: number;

  constructor(owner: object, work: PendingWork, { limits }: GpuDevice) {
    this.#owner = owner;
    this.#work = work;
    this.#maxBytes = Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize);
  }

  /** Rows of so many floats that one binding holds. */
  rowsAtOnce(stride: number): number {
    return Math.max(1, Math.floor(this.#maxBytes / (4 * Math.max(1, stride))));
  }

  /** Memory for a tensor, with these values or not set yet: outside of scopes zeros. */
  make(shape: readonly number[], data?: Float32Array): GpuTensor {
    const stride = rowStride(shape);
    const [rows = 1] = shape;
    const rowsAtOnce = this.rowsAtOnce(stride);
    if (rows <= rowsAtOnce) return this.#makePart(shape, stride, data);
    const rowSize = elementCount(shape.slice(1));
    const parts: TensorPart[] = [];
    for (let firstRow = 0; firstRow < rows; firstRow += rowsAtOnce) {
      const count = Math.min(rowsAtOnce, rows - firstRow);
      const values = data?.subarray(firstRow * rowSize, (firstRow + count) * rowSize);
      parts.push({ firstRow, tensor: this.#makePart([count, ...shape.slice(1)], stride, values) });
    }
    return new GpuTensor(parts, shape, 0, stride);
  }

  clear(x: GpuTensor): void {
    for (const { tensor } of x.parts) {
      const bytes = 4 * tensor.span;
      if (bytes > 0) this.#work.command({ type: 'clear', storage: tensor.storage, offset: 4 * tensor.offset, bytes });
    }
  }

  /** A view of x that is made of a view of every part. */
  view(x: GpuTensor, of: (part: GpuTensor) => GpuTensor): GpuTensor {
    if (x.parts.length === 1) return of(x.parts[0].tensor);
    const parts = x.parts.map(({ firstRow, tensor }) => ({ firstRow, tensor: of(tensor) }));
    const [first] = parts;
    return new GpuTensor(parts, [x.shape[0], ...first.tensor.shape.slice(1)], first.tensor.offset, first.tensor.stride);
  }

  /** A contiguous copy on the host, in the memory of `reuse` if it is large enough. */
  async read(x: GpuTensor, reuse?: Float32Array<ArrayBuffer>): Promise<Float32Array<ArrayBuffer>> {
    const count = elementCount(x.shape);
    const fits = reuse !== undefined && reuse.buffer.byteLength >= 4 * count;
    const out = fits ? new Float32Array(reuse.buffer, 0, count) : new Float32Array(count);
    if (count === 0) return out;
    const parts = x.parts.map(({ firstRow, tensor }) => {
      const { span, rowSize, stride, shape } = tensor;
      return this.#work.read(tensor, 4 * span, (mapped) => {
        const values = new Float32Array(mapped, 0, span);
        const begin = firstRow * rowSize;
        const [rows = 1] = shape;
        if (stride === rowSize || rows === 1) return out.set(values, begin);
        for (let r = 0; r < rows; r++) out.set(values.subarray(r * stride, r * stride + rowSize), begin + r * rowSize);
      });
    });
    await Promise.all(parts);
    return out;
  }

  copySlot(state: GpuTensor, from: number, to: number): void {
    checkSlot(state, from);
    checkSlot(state, to);
    if (from === to) return;
    const [source, target] = [this.#slot(state, from), this.#slot(state, to)];
    if (source.storage === target.storage) {
      // A buffer can't be copied to itself.
      const between = this.#work.borrow(source.bytes);
      const storage = new Storage(this.#owner, source.bytes, between);
      this.#copy(source.storage, source.offset, storage, 0, source.bytes);
      this.#copy(storage, 0, target.storage, target.offset, source.bytes);
      this.#work.giveBack(between);
      return;
    }
    this.#copy(source.storage, source.offset, target.storage, target.offset, source.bytes);
  }

  saveSlot(state: GpuTensor, slot: number, reuse?: SavedSlot): SavedSlot {
    checkSlot(state, slot);
    const { storage, offset, bytes } = this.#slot(state, slot);
    const fits = reuse instanceof GpuSavedSlot && reuse.owner === this.#owner && reuse.byteLength === bytes;
    const buffer = fits ? reuse.take() : this.#work.borrow(bytes);
    this.#copy(storage, offset, new Storage(this.#owner, bytes, buffer), 0, bytes);
    return new GpuSavedSlot(this.#owner, bytes, buffer, {
      read: (held) => this.read(new GpuTensor(new Storage(this.#owner, bytes, held), [bytes / 4], 0, 1)),
      free: (held) => this.#work.giveBack(held),
    });
  }

  loadSlot(state: GpuTensor, slot: number, saved: SavedSlot): void {
    checkSlot(state, slot);
    const { storage, offset, bytes } = this.#slot(state, slot);
    if (saved instanceof GpuSavedSlot && saved.owner === this.#owner && saved.byteLength === bytes) {
      this.#copy(new Storage(this.#owner, bytes, saved.buffer), 0, storage, offset, bytes);
      return;
    }
    const data = hostSlotValues(saved, bytes / 4).slice();
    this.#work.command({ type: 'write', storage, offset, data });
  }

  #makePart(shape: readonly number[], stride: number, data: Float32Array | undefined): GpuTensor {
    const [rows = 1] = shape;
    return new GpuTensor(
      this.#work.storage(4 * rows * stride, data && withStride(data, shape, stride)),
      shape,
      0,
      stride,
    );
  }

  #slot(state: GpuTensor, slot: number) {
    const part = state.parts.findLast(({ firstRow }) => firstRow <= slot) ?? state.parts[0];
    const { storage, offset, stride, rowSize } = part.tensor;
    return { storage, offset: 4 * (offset + (slot - part.firstRow) * stride), bytes: 4 * rowSize };
  }

  #copy(from: Storage, fromOffset: number, to: Storage, toOffset: number, bytes: number): void {
    if (bytes === 0) return;
    this.#work.command({ type: 'copy', from, fromOffset, to, toOffset, bytes });
  }
}

/** The rows, moved apart. */
function withStride(data: Float32Array, shape: readonly number[], stride: number): Float32Array {
  const [rows = 1] = shape;
  const rowSize = elementCount(shape.slice(1));
  if (stride === rowSize || rows < 2) return data;
  const out = new Float32Array(rows * stride);
  for (let r = 0; r < rows; r++) out.set(data.subarray(r * rowSize, (r + 1) * rowSize), r * stride);
  return out;
}
