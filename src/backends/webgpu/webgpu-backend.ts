import type { ProcessGroup } from '../../distributed/process-group.ts';
import { ShardingError } from '../../errors.ts';
import type { BlockFormat } from '../../tensor/block-formats.ts';
import type { WeightDType } from '../../tensor/dtype.ts';
import type { KvCacheDType } from '../../tensor/kv-cache-dtype.ts';
import type { StateDType } from '../../tensor/state-dtype.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { checkColumnSizes, checkLength, checkReshape, checkRowRange } from '../contract/arrays.ts';
import type { Backend } from '../contract/backend.ts';
import type { MemoryNeed, PrepareWatch } from '../contract/life-cycle.ts';
import type { BlockWeightWriter, LinearWeight, LinearWeightWriter } from '../contract/linear.ts';
import type { SamplingOps } from '../contract/sampling.ts';
import { type SavedSlot, savedWords, valuesOfWords, wordShape } from '../contract/slots.ts';
import {
  mapResults,
  type RepeatableStep,
  type StepInputs,
  type StepResults,
  stepKey,
  stepTensors,
  stepVectors,
} from '../contract/steps.ts';
import type { GpuTime } from './device/gpu-clock.ts';
import type { GpuDevice } from './device/gpu-device.ts';
import { GpuIndices, GpuKvCache, GpuState, GpuTensor, rowsOf } from './device/gpu-tensor.ts';
import { GpuArrays } from './graph/arrays.ts';
import type { Fusion } from './graph/fuse.ts';
import { PendingWork } from './graph/pending-work.ts';
import { PlannedSteps } from './graph/planned-steps.ts';
import { decodesToPrepare } from './linear/decodes-to-prepare.ts';
import { expertBlockWriters, expertWriters } from './linear/expert-matrix.ts';
import { WEBGPU_BLOCK_FORMATS } from './linear/pack-blocks.ts';
import { matrixWords } from './linear/pack-weights.ts';
import { GpuBlockWriter, GpuWeightWriter, type WeightPlace } from './linear/weight-writers.ts';
import { Calls } from './ops/calls.ts';
import { FUSIONS, OperationMethods, samplingMethods } from './ops/registry.ts';

/**
 * WebGPU, in one rank. Operations are collected, fused with their neighbours where one kernel computes several, and sent
 * to the device in as few command buffers as possible: docs/webgpu.md says how.
 */
export class WebGpuBackend extends OperationMethods implements Backend {
  readonly name = 'webgpu';
  readonly blockFormats = WEBGPU_BLOCK_FORMATS;
  readonly sampling: SamplingOps;
  readonly failed: Promise<Error>;
  readonly #gpu: GpuDevice;
  readonly #calls: Calls;
  readonly #work: PendingWork;
  readonly #arrays: GpuArrays;
  readonly #steps: PlannedSteps;

  /** @param fusions if there are none, every operation runs in its plain form. */
  constructor(gpu: GpuDevice, fusions: readonly Fusion[] = FUSIONS) {
    const owner = {};
    const work = new PendingWork(owner, gpu, fusions);
    const calls = new Calls(owner, work, new GpuArrays(owner, work, gpu));
    super(calls);
    this.#gpu = gpu;
    this.#calls = calls;
    this.#work = work;
    this.#arrays = calls.arrays;
    this.#steps = new PlannedSteps((step) => work.forgetStep(step));
    this.failed = gpu.failed;
    this.sampling = samplingMethods(calls);
  }

  // --- life -------------------------------------------------------------------------------------------------------

  async reserve({ matrices, floats }: MemoryNeed): Promise<void> {
    await this.#work.memory.tryOut(4 * matrices.reduce((sum, matrix) => sum + matrixWords(matrix), floats));
  }

  async prepare(runs: readonly (() => void)[], watch: PrepareWatch = {}): Promise<void> {
    await this.#work.prepare(runs, watch);
  }

  decodesToPrepare(most: number): readonly number[] {
    return decodesToPrepare(this.#gpu, most);
  }

  maxRows(run: () => void): number {
    return this.#arrays.rowsAtOnce(this.#work.largestOf(run) / 4);
  }

  /** Submits what was enqueued, without waiting for results. */
  flush(): void {
    this.#work.flush();
  }

  /**
   * The device's own time of all that `run` enqueues and awaits: of command buffers, or of each dispatch by itself.
   * @throws UnsupportedDeviceError when the device has no timestamps.
   */
  async time(run: () => Promise<void>, { perDispatch = false } = {}): Promise<GpuTime[]> {
    this.#work.startClock(perDispatch);
    await run();
    return this.#work.stopClock();
  }

  dispose(): void {
    this.#work.destroy();
  }

  // --- arrays -----------------------------------------------------------------------------------------------------

  scope<T>(run: () => T): T {
    return this.#work.scope(run);
  }

  part(_: readonly number[], run: () => Tensor): Tensor {
    return run();
  }

  step<I extends StepInputs, R extends StepResults>(step: RepeatableStep<I, R>): R {
    const { inputs, compute } = step;
    if (this.#work.isInScope) {
      return compute(stepTensors(inputs, (values) => this.#calls.newIndices(values)));
    }
    const planned = this.#steps.get(stepKey(step), () =>
      this.#work.planStep((place) => {
        const tensors = stepTensors(inputs, (values) => new GpuIndices(place(values), values, [values.length]));
        return mapResults<Tensor, GpuTensor>(compute(tensors), (result) =>
          this.#calls.floats(result, 'result', result.shape),
        );
      }),
    );
    // Steps of one key give the same results.
    return this.#work.runStep(planned, stepVectors(inputs)) as R;
  }

  tensor(data: Float32Array | Int32Array, shape: readonly number[]): Tensor {
    checkLength(data.length, shape);
    return data instanceof Int32Array ? this.#calls.newIndices(data, shape) : this.#arrays.make(shape, data);
  }

  zeros(shape: readonly number[], dtype: StateDType = 'float32'): Tensor {
    const out = this.#arrays.make(dtype === 'float32' ? shape : wordShape(shape, dtype));
    // New buffers are zeros; scopes reuse buffers.
    if (this.#work.isInScope) this.#arrays.clear(out);
    return dtype === 'float32' ? out : new GpuState(out, shape, dtype);
  }

  empty(shape: readonly number[], dtype: KvCacheDType = 'float32'): Tensor {
    if (dtype === 'float32') return this.#arrays.make(shape);
    return new GpuKvCache(this.#arrays.make(wordShape(shape, dtype)), shape, dtype);
  }

  async read(x: Tensor, reuse?: Float32Array<ArrayBuffer>): Promise<Float32Array<ArrayBuffer>> {
    if (isInWords(x)) return valuesOfWords(await this.#arrays.read(x.words), x);
    return this.#arrays.read(this.#calls.floats(x, 'x', x.shape), reuse);
  }

  splitColumns(x: Tensor, sizes: readonly number[]): GpuTensor[] {
    const from = this.#calls.floats(x, 'x', [null, null]);
    checkColumnSizes(x, sizes);
    let begin = 0;
    return sizes.map((size) => {
      const first = begin;
      begin += size;
      return this.#arrays.view(from, ({ storage, shape, offset, stride }) => {
        return new GpuTensor(storage, [shape[0], size], offset + first, stride);
      });
    });
  }

  sliceRows(x: Tensor, begin: number, end: number): GpuTensor {
    const from = this.#calls.floats(x, 'x', x.shape);
    checkRowRange(x, begin, end);
    return rowsOf(from, begin, end);
  }

  reshape(x: Tensor, shape: readonly number[]): GpuTensor {
    const from = this.#calls.floats(x, 'x', x.shape);
    checkReshape(x, shape);
    return this.#arrays.view(from, ({ storage, shape: [rows], offset, stride }) => {
      return new GpuTensor(storage, [rows, ...shape.slice(1)], offset, stride);
    });
  }

  copySlot(state: Tensor, from: number, to: number): void {
    this.#arrays.copySlot(this.#slots(state), from, to);
  }

  saveSlot(state: Tensor, slot: number, reuse?: SavedSlot): SavedSlot {
    const save = (x: GpuTensor, memory: SavedSlot | undefined) => this.#arrays.saveSlot(x, slot, memory);
    return isInWords(state) ? state.saveSlot(save, reuse) : save(this.#slots(state), reuse);
  }

  loadSlot(state: Tensor, slot: number, saved: SavedSlot): void {
    this.#arrays.loadSlot(this.#slots(state), slot, isInWords(state) ? savedWords(saved, state) : saved);
  }

  #slots(state: Tensor): GpuTensor {
    return isInWords(state) ? state.words : this.#calls.floats(state, 'state', state.shape);
  }

  // --- weights ----------------------------------------------------------------------------------------------------

  linearWeightWriter(outFeatures: number, inFeatures: number, dtype: WeightDType): LinearWeightWriter {
    if (dtype === 'float32') this.#work.hasFloat32Weights = true;
    return new GpuWeightWriter(this.#weightPlace, outFeatures, inFeatures, dtype);
  }

  blockWeightWriter(outFeatures: number, inFeatures: number, format: BlockFormat): BlockWeightWriter {
    this.#work.hasBlockWeights = true;
    return new GpuBlockWriter(this.#weightPlace, outFeatures, inFeatures, format);
  }

  expertWeightWriters(
    count: number,
    outFeatures: number,
    inFeatures: number,
    dtype: WeightDType,
  ): LinearWeightWriter[] {
    const writer = this.linearWeightWriter(count * outFeatures, inFeatures, dtype);
    return expertWriters(writer, count, { outFeatures, inFeatures }, dtype);
  }

  expertBlockWriters(count: number, outFeatures: number, inFeatures: number, format: BlockFormat): BlockWeightWriter[] {
    const writer = this.blockWeightWriter(count * outFeatures, inFeatures, format);
    return expertBlockWriters(writer, count, { outFeatures, inFeatures }, format);
  }

  linearWeight(weight: Float32Array, outFeatures: number, inFeatures: number, dtype: WeightDType): LinearWeight {
    checkLength(weight.length, [outFeatures, inFeatures]);
    const writer = this.linearWeightWriter(outFeatures, inFeatures, dtype);
    writer.writeRows(0, weight);
    return writer.finish();
  }

  get #weightPlace(): WeightPlace {
    return { owner: this.#calls.owner, device: this.#gpu, memory: this.#work.memory };
  }

  // --- collectives ------------------------------------------------------------------------------------------------

  allReduce(tensors: readonly Tensor[], group: ProcessGroup): Tensor[] {
    checkAlone(group);
    return [...tensors];
  }

  allGatherColumns(x: Tensor, group: ProcessGroup): Tensor {
    checkAlone(group);
    return x;
  }
}

function checkAlone({ size }: ProcessGroup): void {
  if (size === 1) return;
  throw new ShardingError(`The device 'webgpu' runs one rank; there are ${size}.`, 'Use tensorParallelSize 1.');
}

/** Whether a state or a cache has several numbers in each word. */
function isInWords(x: Tensor): x is GpuState | GpuKvCache {
  return x instanceof GpuState || x instanceof GpuKvCache;
}
