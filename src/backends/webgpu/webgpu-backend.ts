import type { ProcessGroup } from '../../distributed/process-group.ts';
import { ArgumentError, ShardingError, UnsupportedDeviceError } from '../../errors.ts';
import type { WeightDType } from '../../tensor/dtype.ts';
import { elementCount, type Tensor } from '../../tensor/tensor.ts';
import type { Backend, GroupLayout, LinearWeight, LinearWeightWriter } from '../backend.ts';
import { checkGroups } from '../group-check.ts';
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
import { GpuIndices, GpuTensor, gpuFloats, gpuIndices } from './gpu-tensor.ts';
import { GpuWeightWriter, gpuWeight } from './linear-weight.ts';
import type { ElementwiseOperation, Operation } from './operation.ts';
import { PendingWork, type PlannedStep } from './pending-work.ts';
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
  readonly #stateSpace: StateSpaceCalls;
  readonly #steps = new Map<string, PlannedStep>();

  /** @param fusions none: every operation runs in its plain form. */
  constructor(gpu: GpuDevice, fusions: readonly Fusion[] = FUSIONS) {
    this.#gpu = gpu;
    this.#work = new PendingWork(this, gpu, fusions);
    this.#arrays = new GpuArrays(this, this.#work, gpu);
    this.#stateSpace = new StateSpaceCalls(this, this.#work, this.#arrays, (values) =>
      this.#indices(values, [values.length]),
    );
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
    const w = gpuWeight(this, weight);
    const input = this.#floats(x, 'x', [null, w.inFeatures]);
    const b = bias && this.#floats(bias, 'bias', [w.outFeatures]);
    return this.#make([x.shape[0], w.outFeatures], (out) => ({ type: 'linear', x: input, weight: w, bias: b, out }));
  }

  embedding(ids: Tensor, table: LinearWeight, firstRow = 0): GpuTensor {
    const w = gpuWeight(this, table);
    const rows = gpuIndices(this, ids, 'ids', null);
    return this.#make([ids.shape[0], w.inFeatures], (out) => {
      return { type: 'embedding', ids: rows, table: w, firstRow, out };
    });
  }

  gatherRows(x: Tensor, rows: Tensor): GpuTensor {
    const from = this.#floats(x, 'x', [null, null]);
    const indices = gpuIndices(this, rows, 'rows', null);
    const [T, C] = x.shape;
    for (const row of indices.data) {
      if (row < 0 || row >= T) throw new ArgumentError(`Row ${row} of a tensor of ${T} rows was asked for.`);
    }
    return this.#make([indices.data.length, C], (out) => ({ type: 'gatherRows', x: from, rows: indices, out }));
  }

  add(x: Tensor, y: Tensor): GpuTensor {
    return this.#elementwise('add', x, y);
  }

  mulScalar(x: Tensor, factor: number): GpuTensor {
    const a = this.#floats(x, 'x', [null, null]);
    return this.#make(x.shape, (out) => ({ type: 'mulScalar', x: a, factor, out }));
  }

  mulColumns(x: Tensor, v: Tensor): GpuTensor {
    const a = this.#floats(x, 'x', [null, null]);
    const b = this.#floats(v, 'v', [x.shape[1]]);
    return this.#make(x.shape, (out) => ({ type: 'mulColumns', x: a, y: b, out }));
  }

  // --- norms ------------------------------------------------------------------------------------------------------

  rmsNorm(x: Tensor, weight: Tensor, eps: number): GpuTensor {
    const input = this.#floats(x, 'x', [null, null]);
    const w = this.#floats(weight, 'weight', [x.shape[1]]);
    return this.#make(x.shape, (out) => ({ type: 'rmsNorm', x: input, weight: w, eps, out }));
  }

  siluGate(x: Tensor, z: Tensor): GpuTensor {
    return this.#elementwise('siluGate', x, z);
  }

  groupSquareSums(v: Tensor, groups: number, layout: GroupLayout): GpuTensor {
    const values = this.#floats(v, 'v', [null, null]);
    checkGroups(v.shape[1], groups, layout);
    return this.#make([v.shape[0], groups], (out) => ({ type: 'groupSquareSums', v: values, layout, out }));
  }

  scaleByGroupNorm(v: Tensor, squareSums: Tensor, weight: Tensor, eps: number, layout: GroupLayout): GpuTensor {
    const values = this.#floats(v, 'v', [null, null]);
    const [T, C] = v.shape;
    const sums = this.#floats(squareSums, 'squareSums', [T, null]);
    const w = this.#floats(weight, 'weight', [C]);
    checkGroups(C, squareSums.shape[1], layout);
    return this.#make(v.shape, (out) => {
      return { type: 'scaleByGroupNorm', v: values, squareSums: sums, weight: w, eps, layout, out };
    });
  }

  scaleRows(x: Tensor, squareSums: Tensor, count: number, eps: number): GpuTensor {
    const input = this.#floats(x, 'x', [null, null]);
    const sums = this.#floats(squareSums, 'squareSums', [x.shape[0], 1]);
    return this.#make(x.shape, (out) => ({ type: 'scaleRows', x: input, squareSums: sums, count, eps, out }));
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

  rotaryTable(): Tensor {
    throw unsupported('attention');
  }

  rotaryEmbedding(): Tensor {
    throw unsupported('attention');
  }

  reshapeAndCache(): void {
    throw unsupported('attention');
  }

  pagedAttention(): Tensor {
    throw unsupported('attention');
  }

  activate(): Tensor {
    throw unsupported('feed-forward layers');
  }

  activateAndMul(): Tensor {
    throw unsupported('feed-forward layers');
  }

  topKRouting(): Tensor {
    throw unsupported('feed-forward layers');
  }

  fusedMoe(): Tensor {
    throw unsupported('feed-forward layers');
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

  /** Gives the device and all its memory back. */
  dispose(): void {
    this.#work.destroy();
  }

  #elementwise(type: ElementwiseOperation['type'], x: Tensor, y: Tensor): GpuTensor {
    const a = this.#floats(x, 'x', [null, null]);
    const b = this.#floats(y, type === 'siluGate' ? 'z' : 'y', x.shape);
    return this.#make(x.shape, (out) => ({ type, x: a, y: b, out }));
  }

  /** A new tensor, and the operation that fills it. */
  #make(shape: readonly number[], operation: (out: GpuTensor) => Operation): GpuTensor {
    const out = this.#arrays.make(shape);
    if (elementCount(shape) > 0) this.#work.enqueue(operation(out));
    return out;
  }

  #indices(data: Int32Array, shape: readonly number[]): GpuIndices {
    return new GpuIndices(this.#work.storage(4 * data.length, data), data, shape);
  }

  #floats(x: Tensor, name: string, expected: readonly (number | null)[]): GpuTensor {
    return gpuFloats(this, x, name, expected);
  }
}

function unsupported(what: string): UnsupportedDeviceError {
  return new UnsupportedDeviceError(`The device 'webgpu' does not run ${what} yet.`, "Use the device 'cpu'.");
}

function checkAlone({ size }: ProcessGroup): void {
  if (size === 1) return;
  throw new ShardingError(`The device 'webgpu' runs one rank; there are ${size}.`, 'Use tensorParallelSize 1.');
}
