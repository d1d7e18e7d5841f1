import type { ProcessGroup } from '../../distributed/process-group.ts';
import { ShardingError, UnsupportedDeviceError } from '../../errors.ts';
import type { WeightDType } from '../../tensor/dtype.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { Backend, GroupLayout, LinearWeight, LinearWeightWriter, MemoryNeed } from '../backend.ts';
import type { SavedSlot } from '../saved-slot.ts';
import { checkColumnSizes, checkLength, checkReshape, checkRowRange } from '../shape-check.ts';
import type {
  CausalConv1dArgs,
  CausalConv1dUpdateArgs,
  ChunkScanArgs,
  LogDecayArgs,
  SelectiveStateUpdateArgs,
} from '../state-space-ops.ts';
import { GpuArrays } from './arrays.ts';
import type { Fusion } from './fuse.ts';
import { FUSIONS } from './fusions.ts';
import type { GpuDevice } from './gpu-device.ts';
import { GpuIndices, GpuTensor, gpuFloats } from './gpu-tensor.ts';
import { GpuWeightWriter } from './linear-weight.ts';
import { rowWords } from './pack-weights.ts';
import { PendingWork, type PlannedStep } from './pending-work.ts';
import { RowCalls } from './row-calls.ts';
import { StateSpaceCalls } from './state-space-calls.ts';

/**
 * WebGPU, in one rank. Operations are collected, fused with their neighbours where a kernel does several at once, and sent
 * to the device in as few command buffers as possible: docs/webgpu.md says how.
 */
export class WebGpuBackend implements Backend {
  readonly name = 'webgpu';
  readonly #gpu: GpuDevice;
  readonly #work: PendingWork;
  readonly #arrays: GpuArrays;
  readonly #rows: RowCalls;
  readonly #stateSpace: StateSpaceCalls;
  readonly #steps = new Map<string, PlannedStep>();

  /** @param fusions none: every operation runs in its plain form. */
  constructor(gpu: GpuDevice, fusions: readonly Fusion[] = FUSIONS) {
    this.#gpu = gpu;
    this.#work = new PendingWork(this, gpu, fusions);
    this.#arrays = new GpuArrays(this, this.#work, gpu);
    this.#rows = new RowCalls(this, this.#work, this.#arrays);
    this.#stateSpace = new StateSpaceCalls(this, this.#work, this.#arrays, (values) =>
      this.#indices(values, [values.length]),
    );
  }

  // --- life -------------------------------------------------------------------------------------------------------

  /** Takes and gives back as much memory as the model needs: the device does not say how much it has. */
  async reserve({ matrices, floats }: MemoryNeed): Promise<void> {
    const weights = matrices.map(({ outFeatures, inFeatures, dtype }) => outFeatures * rowWords(inFeatures, dtype));
    await this.#work.memory.tryOut(4 * weights.reduce((sum, words) => sum + words, floats));
  }

  async prepare(run: () => void): Promise<void> {
    await this.#work.prepare(run);
  }

  dispose(): void {
    this.#work.destroy();
  }

  // --- arrays -----------------------------------------------------------------------------------------------------

  scope<T>(run: () => T): T {
    return this.#work.scope(run);
  }

  step(
    key: string,
    inputs: readonly Int32Array[],
    compute: (inputs: readonly Tensor[]) => readonly Tensor[],
  ): readonly GpuTensor[] {
    const run = (tensors: readonly Tensor[]) =>
      compute(tensors).map((result) => this.#floats(result, 'result', result.shape));
    if (this.#work.isInScope) return run(inputs.map((values) => this.#indices(values, [values.length])));
    const known = this.#steps.get(key);
    const step =
      known ??
      this.#work.planStep(inputs, (storages) =>
        run(storages.map((storage, i) => new GpuIndices(storage, inputs[i], [inputs[i].length]))),
      );
    this.#steps.set(key, step);
    return this.#work.runStep(step, inputs);
  }

  tensor(data: Float32Array | Int32Array, shape: readonly number[]): Tensor {
    checkLength(data.length, shape);
    return data instanceof Int32Array ? this.#indices(data, shape) : this.#arrays.make(shape, data);
  }

  zeros(shape: readonly number[]): GpuTensor {
    const out = this.#arrays.make(shape);
    // New buffers are zeros; those of scopes were somebody's before.
    if (this.#work.isInScope) this.#arrays.clear(out);
    return out;
  }

  empty(shape: readonly number[]): GpuTensor {
    return this.#arrays.make(shape);
  }

  async read(x: Tensor, reuse?: Float32Array<ArrayBuffer>): Promise<Float32Array<ArrayBuffer>> {
    return this.#arrays.read(this.#floats(x, 'x', x.shape), reuse);
  }

  splitColumns(x: Tensor, sizes: readonly number[]): GpuTensor[] {
    const from = this.#floats(x, 'x', [null, null]);
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
    const from = this.#floats(x, 'x', x.shape);
    checkRowRange(x, begin, end);
    return this.#arrays.sliceRows(from, begin, end);
  }

  reshape(x: Tensor, shape: readonly number[]): GpuTensor {
    const from = this.#floats(x, 'x', x.shape);
    checkReshape(x, shape);
    return this.#arrays.view(from, ({ storage, shape: [rows], offset, stride }) => {
      return new GpuTensor(storage, [rows, ...shape.slice(1)], offset, stride);
    });
  }

  copySlot(state: Tensor, from: number, to: number): void {
    this.#arrays.copySlot(this.#floats(state, 'state', state.shape), from, to);
  }

  saveSlot(state: Tensor, slot: number, reuse?: SavedSlot): SavedSlot {
    return this.#arrays.saveSlot(this.#floats(state, 'state', state.shape), slot, reuse);
  }

  loadSlot(state: Tensor, slot: number, saved: SavedSlot): void {
    this.#arrays.loadSlot(this.#floats(state, 'state', state.shape), slot, saved);
  }

  // --- dense layers -----------------------------------------------------------------------------------------------

  linearWeightWriter(outFeatures: number, inFeatures: number, dtype: WeightDType): LinearWeightWriter {
    return new GpuWeightWriter(this, this.#gpu, this.#work.memory, outFeatures, inFeatures, dtype);
  }

  linearWeight(weight: Float32Array, outFeatures: number, inFeatures: number, dtype: WeightDType): LinearWeight {
    checkLength(weight.length, [outFeatures, inFeatures]);
    const writer = this.linearWeightWriter(outFeatures, inFeatures, dtype);
    writer.writeRows(0, weight);
    return writer.finish();
  }

  linear(x: Tensor, weight: LinearWeight, bias?: Tensor): GpuTensor {
    return this.#rows.linear(x, weight, bias);
  }

  embedding(ids: Tensor, table: LinearWeight, firstRow?: number): GpuTensor {
    return this.#rows.embedding(ids, table, firstRow);
  }

  gatherRows(x: Tensor, rows: Tensor): GpuTensor {
    return this.#rows.gatherRows(x, rows);
  }

  add(x: Tensor, y: Tensor): GpuTensor {
    return this.#rows.add(x, y);
  }

  mulScalar(x: Tensor, factor: number): GpuTensor {
    return this.#rows.mulScalar(x, factor);
  }

  mulColumns(x: Tensor, v: Tensor): GpuTensor {
    return this.#rows.mulColumns(x, v);
  }

  rmsNorm(x: Tensor, weight: Tensor, eps: number): GpuTensor {
    return this.#rows.rmsNorm(x, weight, eps);
  }

  siluGate(x: Tensor, z: Tensor): GpuTensor {
    return this.#rows.siluGate(x, z);
  }

  groupSquareSums(v: Tensor, groups: number, layout: GroupLayout): GpuTensor {
    return this.#rows.groupSquareSums(v, groups, layout);
  }

  scaleByGroupNorm(v: Tensor, squareSums: Tensor, weight: Tensor, eps: number, layout: GroupLayout): GpuTensor {
    return this.#rows.scaleByGroupNorm(v, squareSums, weight, eps, layout);
  }

  scaleRows(x: Tensor, squareSums: Tensor, count: number, eps: number): GpuTensor {
    return this.#rows.scaleRows(x, squareSums, count, eps);
  }

  // --- state-space operations -------------------------------------------------------------------------------------

  causalConv1dFn(args: CausalConv1dArgs): Tensor {
    return this.#stateSpace.causalConv1dFn(args);
  }

  causalConv1dUpdate(args: CausalConv1dUpdateArgs): Tensor {
    return this.#stateSpace.causalConv1dUpdate(args);
  }

  mambaChunkScan(args: ChunkScanArgs): Tensor {
    return this.#stateSpace.mambaChunkScan(args);
  }

  selectiveStateUpdate(args: SelectiveStateUpdateArgs): Tensor {
    return this.#stateSpace.selectiveStateUpdate(args);
  }

  logDecaySums(args: LogDecayArgs): Tensor {
    return this.#stateSpace.logDecaySums(args);
  }

  // --- attention and feed-forward layers --------------------------------------------------------------------------

  readonly concatColumns = refuse('columns side by side');
  readonly rotaryTable = refuse('attention');
  readonly rotaryEmbedding = refuse('attention');
  readonly reshapeAndCache = refuse('attention');
  readonly pagedAttention = refuse('attention');
  readonly activate = refuse('feed-forward layers');
  readonly activateAndMul = refuse('feed-forward layers');
  readonly topKRouting = refuse('feed-forward layers');
  readonly fusedMoe = refuse('feed-forward layers');

  // --- collectives ------------------------------------------------------------------------------------------------

  allReduce(tensors: readonly Tensor[], group: ProcessGroup): Tensor[] {
    checkAlone(group);
    return [...tensors];
  }

  allGatherColumns(x: Tensor, group: ProcessGroup): Tensor {
    checkAlone(group);
    return x;
  }

  #indices(data: Int32Array, shape: readonly number[]): GpuIndices {
    return new GpuIndices(this.#work.storage(4 * data.length, data), data, shape);
  }

  #floats(x: Tensor, name: string, expected: readonly (number | null)[]): GpuTensor {
    return gpuFloats(this, x, name, expected);
  }
}

/** An operation that says that it is not there. */
function refuse(what: string): () => never {
  return () => {
    throw new UnsupportedDeviceError(`The device 'webgpu' does not run ${what} yet.`, "Use the device 'cpu'.");
  };
}

function checkAlone({ size }: ProcessGroup): void {
  if (size === 1) return;
  throw new ShardingError(`The device 'webgpu' runs one rank; there are ${size}.`, 'Use tensorParallelSize 1.');
}
