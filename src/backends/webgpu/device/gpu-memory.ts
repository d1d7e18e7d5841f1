import { OutOfDeviceMemoryError } from '../../../errors.ts';
import type { GpuDevice } from './gpu-device.ts';
import { USAGE } from './gpu-usage.ts';

const STORAGE = USAGE.storage | USAGE.copySource | USAGE.copyTarget;

/** A buffer on the device. Its number tells it from others in the keys of caches. */
export class DeviceBuffer {
  readonly id: number;
  readonly gpu: GPUBuffer;
  readonly bytes: number;
  readonly usage: number;

  constructor(id: number, gpu: GPUBuffer, bytes: number, usage: number) {
    this.id = id;
    this.gpu = gpu;
    this.bytes = bytes;
    this.usage = usage;
  }
}

/**
 * The device's memory. Weights and states get buffers of their own. Buffers that a plan needs while it runs are taken
 * from a pool and given back while the plan is made, not while it runs: plans run one after another, so the next may
 * have the same buffers. The pool grows to the needs of the largest plan; after that nothing is allocated.
 */
export class GpuMemory {
  readonly #device: GpuDevice;
  /** Free buffers by usage and size. */
  readonly #free = new Map<string, DeviceBuffer[]>();
  #count = 0;
  #bytes = 0;

  constructor(device: GpuDevice) {
    this.#device = device;
  }

  /** Bytes that are allocated on the device. */
  get bytes(): number {
    return this.#bytes;
  }

  /** A new buffer of zeros, which is never given back. */
  allocate(bytes: number, usage = STORAGE): DeviceBuffer {
    this.#device.assertUsable();
    // Bindings are never empty.
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    const gpu = this.#device.device.createBuffer({ size, usage });
    this.#bytes += size;
    return new DeviceBuffer(this.#count++, gpu, size, usage);
  }

  /**
   * Tries to allocate a number of bytes, and frees them again.
   * @throws OutOfDeviceMemoryError when there is too little memory.
   */
  async tryOut(bytes: number): Promise<void> {
    this.#device.assertUsable();
    const { device, limits } = this.#device;
    const buffers: GPUBuffer[] = [];
    device.pushErrorScope('out-of-memory');
    for (let missing = bytes; missing > 0; missing -= limits.maxBufferSize) {
      const size = Math.ceil(Math.min(missing, limits.maxBufferSize) / 4) * 4;
      buffers.push(device.createBuffer({ size, usage: STORAGE }));
    }
    const error = await this.#device.unlessItFails(device.popErrorScope());
    for (const buffer of buffers) buffer.destroy();
    if (!error) return;
    throw new OutOfDeviceMemoryError(
      `The model needs ${(bytes / 2 ** 30).toFixed(1)} GiB on the GPU, which it does not have: ${error.message}`,
      "Use a smaller dtype, fewer slots (maxNumSeqs), less kvCacheMemoryBytes, or the device 'cpu'.",
    );
  }

  destroy(buffer: DeviceBuffer): void {
    buffer.gpu.destroy();
    this.#bytes -= buffer.bytes;
  }

  /** A buffer from the pool, of any contents. */
  acquire(bytes: number, usage = STORAGE): DeviceBuffer {
    const size = sizeClass(bytes);
    const { maxBufferSize } = this.#device.limits;
    const free = this.#free.get(`${usage} ${size}`)?.pop();
    // A size that fits before it is rounded up must fit after. Larger ones are for the device to refuse.
    return free ?? this.allocate(bytes > maxBufferSize ? size : Math.min(size, maxBufferSize), usage);
  }

  /**
   * Returns a buffer to the pool. Plans that were made before may still use it: they run before those made from now on.
   */
  release(buffer: DeviceBuffer): void {
    const key = `${buffer.usage} ${sizeClass(buffer.bytes)}`;
    const free = this.#free.get(key);
    if (free) free.push(buffer);
    else this.#free.set(key, [buffer]);
  }
}

/** The next of four sizes per power of two: batches of about the same size share buffers. */
function sizeClass(bytes: number): number {
  if (bytes <= 1024) return 1024;
  const quarter = 2 ** (Math.ceil(Math.log2(bytes)) - 3);
  return Math.ceil(bytes / quarter) * quarter;
}
