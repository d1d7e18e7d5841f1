import { unlessAborted } from '../../../distributed/abortable.ts';
import { yieldToEventLoop } from '../../../distributed/event-loop.ts';
import { ArgumentError, DisposedError } from '../../../errors.ts';
import type { PrepareWatch } from '../../contract/life-cycle.ts';
import { mapResults } from '../../contract/steps.ts';
import { GpuClock, type GpuTime } from '../device/gpu-clock.ts';
import type { GpuDevice } from '../device/gpu-device.ts';
import { type DeviceBuffer, GpuMemory } from '../device/gpu-memory.ts';
import { GpuTensor, Storage } from '../device/gpu-tensor.ts';
import { GpuKernels, type Kernel } from '../device/kernel.ts';
import type { Command } from './command.ts';
import { CommandQueue } from './command-queue.ts';
import { type Fusion, fuse } from './fuse.ts';
import { Handover } from './handover.ts';
import { Lowering } from './lowering.ts';
import { COMMAND, lower, type Operation } from './operation.ts';
import { type NewPlan, PlanMaker } from './plan.ts';
import { splitRows } from './split-rows.ts';

/** Operations outside of scopes that may wait until a result is read. */
const MAX_WAITING = 256;

/** Operations and host data that are not planned yet. */
interface Unplanned {
  readonly operations: Operation[];
  /** Values of temporary storages. */
  readonly uploads: Map<Storage, Float32Array | Int32Array>;
}

/** A step's results by name. */
export type GpuResults = Readonly<Record<string, GpuTensor | undefined>>;

/** A step that ran once, ready to run again. */
export interface PlannedStep {
  readonly plan: NewPlan;
  /** Buffers of the pool that the inputs are written to. */
  readonly inputs: readonly DeviceBuffer[];
  readonly results: GpuResults;
}

/**
 * Collects operations and makes plans of them: of all operations of a scope at its end, of others when a result is
 * read, and of a step once and for all.
 */
export class PendingWork {
  readonly memory: GpuMemory;
  readonly kernels: GpuKernels;
  readonly #gpu: GpuDevice;
  readonly #owner: object;
  readonly #fusions: readonly Fusion[];
  readonly #queue: CommandQueue;
  readonly #plans: PlanMaker;
  readonly #nothing: Storage;
  #unplanned: Unplanned = newUnplanned();
  #depth = 0;
  #isPlanningStep = false;
  /** Bytes of the largest storage so far: see {@link largestOf}. */
  #largest = 0;
  /** Whether there are weights of float32, and such in blocks. */
  hasFloat32Weights = false;
  hasBlockWeights = false;

  constructor(owner: object, gpu: GpuDevice, fusions: readonly Fusion[]) {
    this.#owner = owner;
    this.#gpu = gpu;
    this.#fusions = fusions;
    this.memory = new GpuMemory(gpu);
    this.kernels = new GpuKernels(gpu.device);
    this.#queue = new CommandQueue(gpu);
    this.#plans = new PlanMaker(gpu.device, this.memory);
    this.#nothing = new Storage(owner, 16, this.memory.allocate(16));
  }

  get isInScope(): boolean {
    return this.#depth > 0;
  }

  enqueue(operation: Operation): void {
    this.#gpu.assertUsable();
    this.#unplanned.operations.push(operation);
    if (!this.isInScope && this.#unplanned.operations.length >= MAX_WAITING) this.flush();
  }

  /** Enqueues a command as it is. */
  command(command: Command): void {
    this.enqueue(COMMAND.of({ command }));
  }

  /** Memory for `bytes`: inside a scope until its end, with `data` written by the plan; outside of scopes for ever. */
  storage(bytes: number, data?: Float32Array | Int32Array): Storage {
    this.#largest = Math.max(this.#largest, bytes);
    if (this.isInScope) {
      if (data && this.#isPlanningStep) {
        throw new ArgumentError('A step makes a tensor of host data.', 'Pass what varies as an input of the step.');
      }
      const storage = new Storage(this.#owner, bytes);
      // A copy: the caller may reuse the array before the scope ends.
      if (data) this.#unplanned.uploads.set(storage, data.slice());
      return storage;
    }
    const buffer = this.memory.allocate(bytes);
    if (data) this.#gpu.device.queue.writeBuffer(buffer.gpu, 0, data as Float32Array<ArrayBuffer>);
    return new Storage(this.#owner, bytes, buffer);
  }

  scope<T>(run: () => T): T {
    // Operations that were enqueued outside are no part of the scope.
    if (this.#depth === 0) this.#planAll();
    this.#depth++;
    try {
      return run();
    } catch (error) {
      if (this.#depth === 1) this.#unplanned = newUnplanned();
      throw error;
    } finally {
      this.#depth--;
      if (this.#depth === 0) {
        this.flush();
        // Values that no command reads need no upload.
        this.#unplanned = newUnplanned();
      }
    }
  }

  /** Plans a step, whose inputs are `compute`'s to read, and whose results are its results. */
  planStep(compute: (place: (input: Int32Array) => Storage) => GpuResults): PlannedStep {
    this.#planAll();
    const inputs: DeviceBuffer[] = [];
    const place = ({ byteLength }: Int32Array) => {
      const buffer = this.memory.acquire(byteLength);
      inputs.push(buffer);
      return new Storage(this.#owner, buffer.bytes, buffer);
    };
    this.#depth++;
    this.#isPlanningStep = true;
    try {
      const results = compute(place);
      const tensors = Object.values(results).flatMap((result) => result?.parts ?? []);
      const storages = tensors.map(({ tensor }) => tensor.storage);
      const plan = this.#makePlan(this.#unplanned, true, storages);
      // After the waiting plans: the params' buffer may be that of a forgotten step, which has yet to run.
      this.#queue.add({ uploads: plan.uploads, commands: [] });
      return { plan, inputs, results: mapResults(results, (result) => this.#keep(result)) };
    } catch (error) {
      for (const buffer of inputs) this.memory.release(buffer);
      throw error;
    } finally {
      this.#depth--;
      this.#isPlanningStep = false;
      this.#unplanned = newUnplanned();
    }
  }

  /** Runs a planned step with these inputs. */
  runStep({ plan, inputs, results }: PlannedStep, values: readonly Int32Array[]): GpuResults {
    this.#gpu.assertUsable();
    this.#planAll();
    const uploads = inputs.map(({ gpu }, i) => ({ type: 'write' as const, buffer: gpu, offset: 0, data: values[i] }));
    this.#queue.add({ uploads, commands: plan.commands });
    return results;
  }

  /**
   * Gives back the buffers of a step that will not run again. Runs that still wait can use them: see {@link GpuMemory}.
   */
  forgetStep({ plan, inputs }: PlannedStep): void {
    for (const buffer of [...inputs, ...(plan.params ? [plan.params] : [])]) this.memory.release(buffer);
  }

  /** Plans what each run enqueues and compiles its kernels, but does not run it. Rejects when memory or kernels fail. */
  async prepare(runs: readonly (() => void)[], { onProgress, signal }: PrepareWatch): Promise<void> {
    this.#planAll();
    // Kernels of one run compile while the next is planned.
    const kernels = new Set<Kernel>();
    for (const run of runs) {
      await yieldToEventLoop();
      signal?.throwIfAborted();
      for (const kernel of this.#kernelsOf(run)) kernels.add(kernel);
    }
    let compiled = 0;
    const counted = Array.from(kernels, async ({ ready }) => {
      await ready;
      signal?.throwIfAborted();
      onProgress?.(++compiled, kernels.size);
    });
    const done = this.#gpu.device.queue.onSubmittedWorkDone();
    await this.#gpu.unlessItFails(unlessAborted(Promise.all([done, ...counted]), signal));
  }

  /** Bytes of the largest tensor that `run` makes. */
  largestOf(run: () => void): number {
    this.#planAll();
    this.#depth++;
    this.#largest = 0;
    try {
      run();
      return this.#largest;
    } finally {
      this.#depth--;
      this.#unplanned = newUnplanned();
    }
  }

  #kernelsOf(run: () => void): Kernel[] {
    this.#depth++;
    try {
      run();
      const { commands } = this.#makePlan(this.#unplanned, false, []);
      return commands.flatMap((command) => (command.type === 'dispatch' ? [command.kernel] : []));
    } finally {
      this.#depth--;
      this.#unplanned = newUnplanned();
    }
  }

  /**
   * The first `bytes` of what a tensor covers, once everything before has run. `use` gets memory valid during the call.
   */
  async read<T>(x: GpuTensor, bytes: number, use: (mapped: ArrayBuffer) => T): Promise<T> {
    const done = new Promise<T>((resolve, reject) => {
      const read = { bytes, resolve: (mapped: ArrayBuffer) => resolve(use(mapped)), reject };
      this.command({ type: 'read', storage: x.storage, offset: 4 * x.offset, read });
    });
    if (!this.isInScope) this.flush();
    return this.#gpu.unlessItFails(done);
  }

  /** Memory of the pool for something that is kept across plans. */
  borrow(bytes: number): DeviceBuffer {
    return this.memory.acquire(bytes);
  }

  /** Gives such memory back. Operations that are already enqueued may still use it; later plans run after them. */
  giveBack(buffer: DeviceBuffer): void {
    this.#planAll();
    this.memory.release(buffer);
  }

  /** Measures the device's time of later commands, until {@link stopClock}. */
  startClock(perDispatch: boolean): void {
    this.flush();
    this.#queue.clock = new GpuClock(this.#gpu, perDispatch);
  }

  async stopClock(): Promise<GpuTime[]> {
    this.flush();
    const { clock } = this.#queue;
    this.#queue.clock = undefined;
    return clock ? clock.read() : [];
  }

  /** Sends off everything enqueued so far. */
  flush(): void {
    this.#planAll();
    this.#queue.flush();
  }

  destroy(): void {
    const error = new DisposedError('The model was disposed of.', 'Load it again.');
    this.#gpu.fail(error);
    this.kernels.end(error, () => this.#gpu.destroy());
  }

  /** A step's result. Other plans use its memory too, but it holds the result until one of them runs. */
  #keep(result: GpuTensor): GpuTensor {
    const parts = result.parts.map(({ firstRow, tensor: { storage, shape, offset, stride } }) => {
      const kept = new Storage(this.#owner, storage.bytes, storage.buffer);
      return { firstRow, tensor: new GpuTensor(kept, shape, offset, stride) };
    });
    return parts.length === 1 ? parts[0].tensor : new GpuTensor(parts, result.shape, 0, result.stride);
  }

  #planAll(): void {
    if (this.#unplanned.operations.length === 0) return;
    const unplanned = this.#unplanned;
    this.#unplanned = newUnplanned();
    this.#queue.add(this.#makePlan(unplanned, false, []));
  }

  #makePlan({ operations, uploads }: Unplanned, repeats: boolean, kept: readonly Storage[]): NewPlan {
    const fused = fuse(operations.flatMap(splitRows), this.#fusions, kept);
    // In a model in blocks, float32 is what no block holds, such as routers, and asks for no exact activations.
    const isExact = this.hasFloat32Weights && !this.hasBlockWeights;
    const handover = new Handover(fused);
    const lowering = new Lowering(this.#owner, this.#gpu, this.kernels, this.#nothing, { isExact, handover });
    for (const operation of fused) lower(lowering, operation);
    return this.#plans.make(lowering.commands, uploads, { repeats, kept });
  }
}

function newUnplanned(): Unplanned {
  return { operations: [], uploads: new Map() };
}
