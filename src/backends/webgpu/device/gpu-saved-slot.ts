import { DisposedError } from '../../../errors.ts';
import type { SavedSlot } from '../../contract/slots.ts';
import type { DeviceBuffer } from './gpu-memory.ts';

/** A saved slot in the device's memory. */
export class GpuSavedSlot implements SavedSlot {
  readonly owner: object;
  readonly byteLength: number;
  readonly #read: (buffer: DeviceBuffer) => Promise<Float32Array<ArrayBuffer>>;
  readonly #free: (buffer: DeviceBuffer) => void;
  #buffer: DeviceBuffer | undefined;

  constructor(
    owner: object,
    byteLength: number,
    buffer: DeviceBuffer,
    {
      read,
      free,
    }: {
      readonly read: (buffer: DeviceBuffer) => Promise<Float32Array<ArrayBuffer>>;
      readonly free: (buffer: DeviceBuffer) => void;
    },
  ) {
    this.owner = owner;
    this.byteLength = byteLength;
    this.#buffer = buffer;
    this.#read = read;
    this.#free = free;
  }

  /** @throws DisposedError */
  get buffer(): DeviceBuffer {
    if (this.#buffer) return this.#buffer;
    throw new DisposedError('A saved slot was disposed of.', 'Save the slot again.');
  }

  async read(): Promise<Float32Array<ArrayBuffer>> {
    return this.#read(this.buffer);
  }

  /** Gives the memory away, for another slot of the same size. */
  take(): DeviceBuffer {
    const { buffer } = this;
    this.#buffer = undefined;
    return buffer;
  }

  dispose(): void {
    if (this.#buffer) this.#free(this.take());
  }
}
