import type { ProcessGroup } from '../../distributed/process-group.ts';
import { ShardingError } from '../../errors.ts';
import type { WeightDType } from '../../tensor/dtype.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { PagedAttentionArgs, ReshapeAndCacheArgs } from '../attention-ops.ts';
import type { Backend, GroupLayout, LinearWeight, LinearWeightWriter, MemoryNeed } from '../backend.ts';
import type { ExpertWeights, MlpActivation, RoutingOptions } from '../feed-forward-ops.ts';
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
import { AttentionCalls } from './attention-calls.ts';
import { FeedForwardCalls } from './feed-forward-calls.ts';
import type { Fusion } from './fuse.ts';
import { FUSIONS } from './fusions.ts';
import type { GpuDevice } from './gpu-device.ts';
import { GpuIndices, GpuTensor, gpuFloats } from './gpu-tensor.ts';
import { GpuWeightWriter } from './linear-weight.ts';
import { matrixWords } from './pack-weights.ts';
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
  readonly #attention: AttentionCalls;
  readonly #feedForward: FeedForwardCalls;
  readonly #steps = new Map<string, PlannedStep>();

  /** @param fusions none: every operation runs in its plain form. */
  constructor(gpu: GpuDevice, fusions: readonly Fusion[] = FUSIONS) {
    this.#gpu = gpu;
    this.#work = new PendingWork(this, gpu, fusions);
    this.#arrays = new GpuArrays(this, this.#work, gpu);
    this.#rows = new RowCalls(this, this.#work, this.#arrays);
    this.#attention = new AttentionCalls(this, this.#work, this.#arrays);
    this.#feedForward = new FeedForwardCalls(this, this.#work, this.#arrays, this.#rows);
    this.#stateSpace = new StateSpaceCalls(this, this.#work, this.#arrays, (values) =>
      this.#indices(values, [values.length]),
    );
  }

  // --- life -------------------------------------------------------------------------------------------------------

  async reserve({ matrices, floats }: MemoryNeed): Promise<void> {
    await this.#work.memory.tryOut(4 * matrices.reduce((sum, matrix) => sum + matrixWords(matrix), floats));
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

  rotaryTable(positions: Tensor, inverseFrequencies: Tensor, scale: number): GpuTensor {
    return this.#attention.rotaryTable(positions, inverseFrequencies, scale);
  }

  rotaryEmbedding(x: Tensor, table: Tensor, headDim: number): GpuTensor {
    return this.#attention.rotaryEmbedding(x, table, headDim);
  }

  reshapeAndCache(args: ReshapeAndCacheArgs): void {
    this.#attention.reshapeAndCache(args);
  }

  pagedAttention(args: PagedAttentionArgs): GpuTensor {
    return this.#attention.pagedAttention(args);
  }

  activate(x: Tensor, activation: MlpActivation): GpuTensor {
    return this.#feedForward.activate(x, activation);
  }

  activateAndMul(gate: Tensor, x: Tensor, activation: MlpActivation): GpuTensor {
    return this.#feedForward.activateAndMul(gate, x, activation);
  }

  topKRouting(logits: Tensor, options: RoutingOptions, bias?: Tensor): GpuTensor {
    return this.#feedForward.topKRouting(logits, options, bias);
  }

  fusedMoe(
    x: Tensor,
    routing: Tensor,
    experts: readonly ExpertWeights[],
    activation: MlpActivation,
    gated: boolean,
  ): GpuTensor {
    return this.#feedForward.fusedMoe(x, routing, experts, activation, gated);
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

  #indices(data: Int32Array, shape: readonly number[]): GpuIndices {
    return new GpuIndices(this.#work.storage(4 * data.length, data), data, shape);
  }

  #floats(x: Tensor, name: string, expected: readonly (number | null)[]): GpuTensor {
    return gpuFloats(this, x, name, expected);
  }
}

function checkAlone({ size }: ProcessGroup): void {
  if (size === 1) return;
  throw new ShardingError(`The device 'webgpu' runs one rank; there are ${size}.`, 'Use tensorParallelSize 1.');
}
