import type { BlockFormat } from '../../tensor/block-formats.ts';
import type { WeightDType } from '../../tensor/dtype.ts';
import type { KvCacheDType } from '../../tensor/kv-cache-dtype.ts';
import type { MatmulPrecision } from '../../tensor/matmul-precision.ts';
import type { StateDType } from '../../tensor/state-dtype.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { MlpActivation } from '../contract/activations.ts';
import { checkColumnSizes, checkLength, checkReshape, checkRowRange } from '../contract/arrays.ts';
import type { Backend } from '../contract/backend.ts';
import type { ExpertWeights } from '../contract/experts.ts';
import type { MemoryNeed, PrepareWatch } from '../contract/life-cycle.ts';
import type { BlockWeightWriter, LinearWeight, LinearWeightWriter } from '../contract/linear.ts';
import type { SamplingOps } from '../contract/sampling.ts';
import { type SavedSlot, savedWords, valuesOfWords, wordShape } from '../contract/slots.ts';
import type { ReplayOps } from '../contract/state-space.ts';
import { type RepeatableStep, type StepInputs, type StepResults, stepTensors } from '../contract/steps.ts';
import { CUDA_BLOCK_FORMATS } from './block-formats.ts';
import { CudaCalls } from './device/cuda-calls.ts';
import type { CudaDevice } from './device/cuda-device.ts';
import type { CudaInfo } from './device/cuda-info.ts';
import { CudaMemory } from './device/cuda-memory.ts';
import { copySlot, loadSlot, saveSlot } from './device/cuda-slots.ts';
import { CudaKvCache, CudaState, type CudaTensor } from './device/cuda-tensor.ts';
import { blockWriter, storedBytes, weightWriter } from './device/cuda-weight.ts';
import type { NcclGroup } from './nccl/nccl-group.ts';
import { CHUNK_TOKENS } from './ops/chunk-scan.ts';
import { ExpertLists, fusedMoe } from './ops/experts.ts';
import { OperationMethods, replayMethods, samplingMethods } from './ops/registry.ts';
import { RepeatedSteps } from './repeated-steps.ts';

/** What a backend has besides its GPU. */
interface CudaBackendParts {
  /** That the GPU has joined; disposed of with the backend. Default: it is alone. */
  readonly group?: NcclGroup | undefined;
  /** How exactly products take their activations. Default: high. */
  readonly matmulPrecision?: MatmulPrecision | undefined;
}

/**
 * An NVIDIA GPU through its driver, alone or as a rank of several. A row's results have the same bits whatever else is in
 * the batch, and however its sequence is split: every kernel sums in an order that does not depend on the number of rows.
 */
export class CudaBackend extends OperationMethods implements Backend {
  readonly name = 'cuda';
  readonly blockFormats = CUDA_BLOCK_FORMATS;
  /** Products of few, some and many rows lie in modules of their own. */
  readonly promptsToPrepare = [8, 64, 512];
  readonly outlivesMissingMemory: boolean;
  readonly sampling: SamplingOps;
  readonly replay: ReplayOps;
  readonly failed: Promise<Error>;
  readonly promptAlignment: number | undefined;
  readonly #device: CudaDevice;
  readonly #memory: CudaMemory;
  readonly #calls: CudaCalls;
  readonly #steps: RepeatedSteps;
  readonly #experts = new ExpertLists();

  readonly #group: NcclGroup | undefined;

  constructor(device: CudaDevice, { group, matmulPrecision = 'high' }: CudaBackendParts = {}) {
    const memory = new CudaMemory(device);
    const calls = new CudaCalls({}, device, memory, matmulPrecision);
    super(calls);
    // Exchanges that other GPUs have begun can't be taken back.
    this.outlivesMissingMemory = group === undefined;
    this.#device = device;
    this.#group = group;
    this.#memory = memory;
    this.#calls = calls;
    this.#steps = new RepeatedSteps(calls);
    this.failed = device.failed;
    this.promptAlignment = matmulPrecision === 'medium' ? CHUNK_TOKENS : undefined;
    this.sampling = samplingMethods(calls);
    this.replay = replayMethods(calls);
  }

  /** The GPU. */
  get info(): CudaInfo {
    return this.#device.info;
  }

  // --- life -------------------------------------------------------------------------------------------------------

  async reserve({ matrices, floats }: MemoryNeed): Promise<void> {
    this.#memory.reserve(matrices.reduce((sum, matrix) => sum + storedBytes(matrix), 4 * floats));
  }

  async prepare(runs: readonly (() => void)[], { onProgress, signal }: PrepareWatch = {}): Promise<void> {
    for (const [i, run] of runs.entries()) {
      // The driver compiles a module in one go; what else is due runs in between.
      await new Promise((resolve) => setImmediate(resolve));
      signal?.throwIfAborted();
      this.#device.isDry = true;
      try {
        this.#memory.scope(run);
      } finally {
        this.#device.isDry = false;
      }
      onProgress?.(i + 1, runs.length);
    }
  }

  decodesToPrepare(most: number): readonly number[] {
    return [...new Set([1, most])];
  }

  dispose(): void {
    // Before the group, which waits for the graphs that exchange within it.
    this.#steps.dispose();
    // Before memory: kernels that wait for other ranks end only then.
    this.#group?.dispose();
    this.#memory.dispose();
    this.#device.dispose();
  }

  // --- arrays -----------------------------------------------------------------------------------------------------

  scope<T>(run: () => T): T {
    return this.#memory.scope(run);
  }

  part([rows = 1]: readonly number[], run: () => Tensor): Tensor {
    // What one row needs is little.
    return rows > 1 ? this.#memory.part(run) : run();
  }

  step<I extends StepInputs, R extends StepResults>(step: RepeatableStep<I, R>): R {
    if (!this.#memory.isInScope) return this.#steps.run(step);
    return step.compute(stepTensors(step.inputs, (values) => this.#calls.newIndices(values)));
  }

  tensor(data: Float32Array | Int32Array, shape: readonly number[]): Tensor {
    checkLength(data.length, shape);
    if (data instanceof Int32Array) return this.#calls.newIndices(data, shape);
    const out = this.#calls.make(shape);
    this.#calls.upload(out.address, out.stride === out.rowSize ? data : withStride(data, out));
    return out;
  }

  zeros(shape: readonly number[], dtype: StateDType = 'float32'): Tensor {
    const out = this.#calls.make(dtype === 'float32' ? shape : wordShape(shape, dtype));
    this.#calls.clear(out.address, 4 * (shape[0] ?? 1) * out.stride);
    return dtype === 'float32' ? out : new CudaState(out, shape, dtype);
  }

  empty(shape: readonly number[], dtype: KvCacheDType = 'float32'): Tensor {
    if (dtype === 'float32') return this.#calls.make(shape);
    return new CudaKvCache(this.#calls.make(wordShape(shape, dtype)), shape, dtype);
  }

  async read(x: Tensor, reuse?: Float32Array<ArrayBuffer>): Promise<Float32Array<ArrayBuffer>> {
    if (isInWords(x)) return valuesOfWords(await this.#calls.read(x.words), x);
    return this.#calls.read(this.#floats(x, 'x'), reuse);
  }

  splitColumns(x: Tensor, sizes: readonly number[]): CudaTensor[] {
    const from = this.#calls.floats(x, 'x', [null, null]);
    checkColumnSizes(x, sizes);
    let column = 0;
    return sizes.map((size) => {
      const view = from.view([from.shape[0], size], column);
      column += size;
      return view;
    });
  }

  sliceRows(x: Tensor, begin: number, end: number): CudaTensor {
    const from = this.#floats(x, 'x');
    checkRowRange(x, begin, end);
    return from.view([end - begin, ...from.shape.slice(1)], begin * from.stride);
  }

  reshape(x: Tensor, shape: readonly number[]): CudaTensor {
    const from = this.#floats(x, 'x');
    checkReshape(x, shape);
    return from.view(shape);
  }

  copySlot(state: Tensor, from: number, to: number): void {
    copySlot(this.#calls, this.#slots(state), from, to);
  }

  saveSlot(state: Tensor, slot: number, reuse?: SavedSlot): SavedSlot {
    const save = (x: CudaTensor, memory: SavedSlot | undefined) => saveSlot(this.#calls, x, slot, memory);
    return isInWords(state) ? state.saveSlot(save, reuse) : save(this.#slots(state), reuse);
  }

  loadSlot(state: Tensor, slot: number, saved: SavedSlot): void {
    loadSlot(this.#calls, this.#slots(state), slot, isInWords(state) ? savedWords(saved, state) : saved);
  }

  #slots(state: Tensor): CudaTensor {
    return isInWords(state) ? state.words : this.#floats(state, 'state');
  }

  // --- weights ----------------------------------------------------------------------------------------------------

  linearWeightWriter(outFeatures: number, inFeatures: number, dtype: WeightDType): LinearWeightWriter {
    return weightWriter(this.#calls, outFeatures, inFeatures, dtype);
  }

  blockWeightWriter(outFeatures: number, inFeatures: number, format: BlockFormat): BlockWeightWriter {
    return blockWriter(this.#calls, outFeatures, inFeatures, format);
  }

  linearWeight(weight: Float32Array, outFeatures: number, inFeatures: number, dtype: WeightDType): LinearWeight {
    checkLength(weight.length, [outFeatures, inFeatures]);
    const writer = this.linearWeightWriter(outFeatures, inFeatures, dtype);
    writer.writeRows(0, weight);
    return writer.finish();
  }

  fusedMoe(
    x: Tensor,
    routing: Tensor,
    experts: readonly ExpertWeights[],
    activation: MlpActivation,
    gated: boolean,
  ): CudaTensor {
    return fusedMoe(this.#calls, this.#experts, x, routing, experts, activation, gated);
  }

  #floats(x: Tensor, name: string): CudaTensor {
    return this.#calls.floats(x, name, x.shape);
  }
}

/** The rows, moved apart. */
function withStride(data: Float32Array, { shape: [rows = 1], rowSize, stride }: CudaTensor): Float32Array {
  const out = new Float32Array(rows * stride);
  for (let r = 0; r < rows; r++) out.set(data.subarray(r * rowSize, (r + 1) * rowSize), r * stride);
  return out;
}

/** Whether a state or a cache has several numbers in each word. */
function isInWords(x: Tensor): x is CudaState | CudaKvCache {
  return x instanceof CudaState || x instanceof CudaKvCache;
}
