import { asError } from '../../../util/as-error.ts';
import type { GpuClock } from '../device/gpu-clock.ts';
import type { GpuDevice } from '../device/gpu-device.ts';
import { USAGE } from '../device/gpu-usage.ts';
import type { ReadBack } from './command.ts';
import type { Plan, PlannedCommand, Write } from './plan.ts';

/** A copy on its way to the host. */
interface PendingRead {
  readonly staging: GPUBuffer;
  readonly read: ReadBack;
}

/** Staging buffers that are kept for the next reads. */
const MAX_SPARE = 8;

/**
 * Encodes plans and hands them to the device, in the order in which they came. A plan whose kernels are
 * not compiled yet delays those after it.
 */
export class CommandQueue {
  readonly #gpu: GpuDevice;
  readonly #plans: Plan[] = [];
  readonly #spare: GPUBuffer[] = [];
  #isWaiting = false;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #reads: PendingRead[] = [];
  /** Measures the time of everything that is encoded. */
  clock: GpuClock | undefined;

  constructor(gpu: GpuDevice) {
    this.#gpu = gpu;
  }

  add(plan: Plan): void {
    this.#plans.push(plan);
  }

  /** Submits the added plans, now or as soon as their kernels are compiled. */
  flush(): void {
    if (this.#isWaiting) return;
    for (let plan = this.#plans.shift(); plan; plan = this.#plans.shift()) {
      const missing = plan.commands.flatMap((command) =>
        command.type === 'dispatch' && !command.kernel.pipeline ? [command.kernel.ready] : [],
      );
      if (missing.length > 0) {
        this.#plans.unshift(plan);
        this.#submit();
        this.#flushAfter(missing);
        return;
      }
      this.#encode(plan);
    }
    this.#submit();
  }

  #flushAfter(missing: readonly Promise<void>[]): void {
    this.#isWaiting = true;
    Promise.all(missing).then(
      () => {
        this.#isWaiting = false;
        this.flush();
      },
      (error: unknown) => {
        // Later plans build on what this one should have computed.
        this.#gpu.fail(asError(error));
      },
    );
  }

  #encode({ uploads, commands }: Plan): void {
    for (const write of uploads) this.#write(write);
    for (const command of commands) this.#encodeCommand(command);
  }

  #encodeCommand(command: PlannedCommand): void {
    if (command.type === 'write') {
      this.#write(command);
      return;
    }
    this.#encoder ??= this.#gpu.device.createCommandEncoder();
    if (command.type === 'dispatch') {
      const { kernel, group, params, workgroups } = command;
      if (this.clock?.perDispatch) this.#endPass();
      this.#pass ??= this.#encoder.beginComputePass(this.clock?.begin(this.clock.perDispatch ? kernel.name : 'pass'));
      if (kernel.pipeline) this.#pass.setPipeline(kernel.pipeline);
      this.#pass.setBindGroup(0, group, params);
      this.#pass.dispatchWorkgroups(...workgroups);
      return;
    }
    this.#endPass();
    switch (command.type) {
      case 'copy':
        this.#encoder.copyBufferToBuffer(command.from, command.fromOffset, command.to, command.toOffset, command.bytes);
        break;
      case 'clear':
        this.#encoder.clearBuffer(command.buffer, command.offset, command.bytes);
        break;
      case 'read': {
        const staging = this.#staging(command.read.bytes);
        this.#encoder.copyBufferToBuffer(command.buffer, command.offset, staging, 0, command.read.bytes);
        this.#reads.push({ staging, read: command.read });
      }
    }
  }

  /** Host data arrives before any command that is submitted later, so what was encoded before goes first. */
  #write({ buffer, offset, data }: Write): void {
    this.#submit();
    this.#gpu.device.queue.writeBuffer(buffer, offset, data as Float32Array<ArrayBuffer>);
  }

  #submit(): void {
    if (!this.#encoder) return;
    this.#endPass();
    this.#gpu.device.queue.submit([this.#encoder.finish()]);
    this.#encoder = undefined;
    const reads = this.#reads;
    this.#reads = [];
    for (const read of reads) this.#finishRead(read);
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = undefined;
  }

  #finishRead({ staging, read }: PendingRead): void {
    staging.mapAsync(1, 0, read.bytes).then(
      () => {
        read.resolve(staging.getMappedRange(0, read.bytes));
        staging.unmap();
        if (this.#spare.length < MAX_SPARE) this.#spare.push(staging);
        else staging.destroy();
      },
      (error: unknown) => read.reject(asError(error)),
    );
  }

  #staging(bytes: number): GPUBuffer {
    const at = this.#spare.findIndex(({ size }) => size >= bytes && size <= 4 * bytes + 4096);
    if (at >= 0) return this.#spare.splice(at, 1)[0];
    const size = Math.max(256, Math.ceil(bytes / 256) * 256);
    return this.#gpu.device.createBuffer({ size, usage: USAGE.mapRead | USAGE.copyTarget });
  }
}
