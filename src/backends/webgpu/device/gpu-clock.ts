import { ArgumentError, UnsupportedDeviceError } from '../../../errors.ts';
import type { GpuDevice } from './gpu-device.ts';
import { USAGE } from './gpu-usage.ts';

/** Time that the device worked on something. */
export interface GpuTime {
  /** The kernel, or `pass` for all of a command buffer's dispatches between copies. */
  readonly name: string;
  readonly microseconds: number;
}

/** WebGPU allows 4096 timestamps in a set. */
const MAX_SPANS = 2048;

/** Measures compute passes by the device's own clock. */
export class GpuClock {
  /** Whether every dispatch gets a pass of its own, and so a time. */
  readonly perDispatch: boolean;
  readonly #gpu: GpuDevice;
  readonly #set: GPUQuerySet;
  readonly #buffer: GPUBuffer;
  readonly #names: string[] = [];

  /** @throws UnsupportedDeviceError when the device has no timestamps. */
  constructor(gpu: GpuDevice, perDispatch: boolean) {
    if (!gpu.features.has('timestamp-query')) {
      throw new UnsupportedDeviceError('This GPU has no timestamps.', 'Measure by the wall clock.');
    }
    this.#gpu = gpu;
    this.perDispatch = perDispatch;
    this.#set = gpu.device.createQuerySet({ type: 'timestamp', count: 2 * MAX_SPANS });
    this.#buffer = gpu.device.createBuffer({ size: 16 * MAX_SPANS, usage: USAGE.queryResolve | USAGE.copySource });
  }

  /** Descriptor of the next pass, with timestamps. */
  begin(name: string): GPUComputePassDescriptor {
    const span = this.#names.push(name) - 1;
    if (span >= MAX_SPANS) throw new ArgumentError(`The clock took ${MAX_SPANS} times already.`, 'Read them before.');
    return {
      timestampWrites: {
        querySet: this.#set,
        beginningOfPassWriteIndex: 2 * span,
        endOfPassWriteIndex: 2 * span + 1,
      },
    };
  }

  /** All times so far, once the device has them. Ends the clock. */
  async read(): Promise<GpuTime[]> {
    const { device } = this.#gpu;
    const count = this.#names.length;
    const size = Math.max(16, 16 * count);
    const staging = device.createBuffer({ size, usage: USAGE.mapRead | USAGE.copyTarget });
    const encoder = device.createCommandEncoder();
    if (count > 0) encoder.resolveQuerySet(this.#set, 0, 2 * count, this.#buffer, 0);
    encoder.copyBufferToBuffer(this.#buffer, 0, staging, 0, size);
    device.queue.submit([encoder.finish()]);
    await this.#gpu.unlessItFails(staging.mapAsync(1));
    const times = new BigUint64Array(staging.getMappedRange().slice(0));
    for (const resource of [staging, this.#buffer, this.#set]) resource.destroy();
    return this.#names.map((name, i) => ({ name, microseconds: Number(times[2 * i + 1] - times[2 * i]) / 1000 }));
  }
}
