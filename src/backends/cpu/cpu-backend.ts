import type { ProcessGroup } from '../../distributed/process-group.ts';
import { type BlockFormat, matrixRowBytes } from '../../tensor/block-formats.ts';
import type { WeightDType } from '../../tensor/dtype.ts';
import type { KvCacheDType } from '../../tensor/kv-cache-dtype.ts';
import type { StateDType } from '../../tensor/state-dtype.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { MlpActivation } from '../contract/activations.ts';
import { checkColumnSizes, checkLength, checkReshape, checkRowRange } from '../contract/arrays.ts';
import type { PagedAttentionArgs, ReshapeAndCacheArgs } from '../contract/attention.ts';
import type { Backend } from '../contract/backend.ts';
import type { CausalConv1dArgs, CausalConv1dUpdateArgs } from '../contract/convolution.ts';
import type { ExpertWeights, RoutingOptions } from '../contract/experts.ts';
import { contiguous, ints } from '../contract/host-tensor.ts';
import type { MemoryNeed } from '../contract/life-cycle.ts';
import {
  type BlockWeightWriter,
  checkBlockColumns,
  type LinearWeight,
  type LinearWeightWriter,
} from '../contract/linear.ts';
import type { GroupLayout } from '../contract/norms.ts';
import { checkDistinctRows, checkRowNumbers } from '../contract/rows.ts';
import { checkSlot, hostSlotValues, type SavedSlot, saveOnHost } from '../contract/slots.ts';
import type { ChunkScanArgs, LogDecayArgs, SelectiveStateUpdateArgs } from '../contract/state-space.ts';
import type { RepeatableStep, StepInputs, StepResults } from '../contract/steps.ts';
import { KernelCalls } from './kernels/kernel-calls.ts';
import type { BlockKernels, CodeFormat, Kernels } from './kernels/kernels.ts';
import { BlockWeight, CPU_BLOCK_FORMATS, isCodeFormat } from './memory/block-weight.ts';
import { CpuIndices, indexAddress } from './memory/cpu-indices.ts';
import type { CpuMemory } from './memory/cpu-memory.ts';
import type { CpuRuntime } from './memory/cpu-runtime.ts';
import { CpuKvCache, CpuState, KV_FORMATS } from './memory/cpu-short.ts';
import { CpuTensor, cpuFloats } from './memory/cpu-tensor.ts';
import { Fp8Weight } from './memory/fp8-weight.ts';
import { cpuWeight, PackedWeight, type Packing } from './memory/packed-weight.ts';
import { CpuAttention } from './ops/attention.ts';
import { CpuCollectives } from './ops/collectives.ts';
import { CpuConvolution } from './ops/convolution.ts';
import { logDecaySums } from './ops/decay.ts';
import { CpuExperts } from './ops/experts.ts';
import { CpuFeedForward } from './ops/feed-forward.ts';
import { CpuLinear } from './ops/linear.ts';
import { CpuRows } from './ops/rows.ts';
import { CpuScan } from './ops/scan.ts';
import { RepeatedSteps } from './repeated-steps.ts';

/** Numbers of a table's layouts in kernels/pack.ts. */
const EMBEDDING_KINDS: Readonly<Record<Packing | 'F8_E4M3', number>> = {
  float32: 0,
  bfloat16: 1,
  int8: 2,
  int4: 3,
  F8_E4M3: 4,
};

/**
 * WebAssembly SIMD in the calling thread. A row's results have the same bits whatever else is in the batch, however its
 * sequence is split, prefilled or decoded: every kernel sums in an order that does not depend on the number of rows.
 */
export class CpuBackend implements Backend {
  readonly name = 'cpu';
  readonly blockFormats = CPU_BLOCK_FORMATS;
  readonly #runtime: CpuRuntime;
  readonly #memory: CpuMemory;
  readonly #kernels: Kernels;
  readonly #calls: KernelCalls;
  readonly #steps: RepeatedSteps;
  readonly #rows: CpuRows;
  readonly #linear: CpuLinear;
  readonly #convolution: CpuConvolution;
  readonly #scan: CpuScan;
  readonly #attention: CpuAttention;
  readonly #feedForward: CpuFeedForward;
  readonly #experts: CpuExperts;
  readonly #collectives: CpuCollectives;

  constructor({ memory, kernels, products, blockKernels }: CpuRuntime) {
    this.#calls = new KernelCalls();
    const blockCalls = new Map<CodeFormat, BlockKernels>();
    this.#runtime = {
      memory,
      kernels: this.#calls.of(kernels),
      products: { prompt: this.#calls.of(products.prompt), decode: this.#calls.of(products.decode) },
      blockKernels: (format) => {
        const known = blockCalls.get(format) ?? this.#calls.of(blockKernels(format));
        blockCalls.set(format, known);
        return known;
      },
    };
    this.#memory = memory;
    this.#kernels = this.#runtime.kernels;
    this.#steps = new RepeatedSteps(memory, this.#calls);
    this.#rows = new CpuRows(this.#runtime);
    this.#linear = new CpuLinear(this.#runtime);
    this.#convolution = new CpuConvolution(this.#runtime);
    this.#scan = new CpuScan(this.#runtime);
    this.#attention = new CpuAttention(this.#runtime, this.#calls);
    this.#feedForward = new CpuFeedForward(this.#runtime);
    this.#experts = new CpuExperts(this.#runtime, this.#calls, this.#linear);
    this.#collectives = new CpuCollectives(this.#runtime, this.#calls);
  }

  /** Takes the matrices' memory at once, as it is in a file. States are left out: most of theirs is never used. */
  async reserve({ matrices }: MemoryNeed): Promise<void> {
    this.#memory.reserve(
      matrices.reduce(
        (sum, { outFeatures, inFeatures, dtype }) => sum + outFeatures * matrixRowBytes(dtype, inFeatures),
        0,
      ),
    );
  }

  // --- arrays -----------------------------------------------------------------------------------------------------

  scope<T>(run: () => T): T {
    return this.#memory.scope(run);
  }

  part(shape: readonly number[], run: () => Tensor): Tensor {
    const { bytes, stride } = CpuTensor.layout(shape);
    return this.#memory.part(bytes, (place) => {
      const made = this.#floats(run(), 'result', shape);
      if (place === undefined) return made;
      const out = new CpuTensor(this.#memory, place, shape, stride);
      this.#kernels.copyRows(made.address, made.byteStride, place, out.byteStride, shape[0] ?? 1, 4 * made.rowSize);
      return out;
    });
  }

  step<I extends StepInputs, R extends StepResults>(step: RepeatableStep<I, R>): R {
    return this.#steps.run(step);
  }

  tensor(data: Float32Array | Int32Array, shape: readonly number[]): Tensor {
    checkLength(data.length, shape);
    this.#calls.assertNotRecording();
    if (data instanceof Int32Array) return new CpuIndices(this.#memory, data, shape);
    const out = CpuTensor.allocate(this.#memory, shape);
    const { rowSize } = out;
    for (let r = 0; r < (shape[0] ?? 1); r++) {
      this.#memory.floats.set(data.subarray(r * rowSize, (r + 1) * rowSize), out.address / 4 + r * out.stride);
    }
    return out;
  }

  zeros(shape: readonly number[], dtype: StateDType = 'float32'): Tensor {
    if (dtype !== 'float32') return new CpuState(this.#runtime, shape, dtype);
    const { used } = this.#memory;
    const out = CpuTensor.allocate(this.#memory, shape);
    // Memory that nothing has used yet is left untouched: states of slots that are never taken cost none.
    if (out.address >= used && !this.#calls.isRecording) return out;
    this.#kernels.clear(out.address, (shape[0] ?? 1) * out.byteStride);
    return out;
  }

  empty(shape: readonly number[], dtype: KvCacheDType = 'float32'): Tensor {
    if (dtype !== 'float32') return new CpuKvCache(this.#runtime, shape, dtype);
    return CpuTensor.allocate(this.#memory, shape);
  }

  async read(x: Tensor, reuse?: Float32Array<ArrayBuffer>): Promise<Float32Array<ArrayBuffer>> {
    if (isShort(x)) return x.readAll();
    return contiguous(this.#floats(x, 'x', x.shape).view(), reuse);
  }

  splitColumns(x: Tensor, sizes: readonly number[]): CpuTensor[] {
    const from = this.#floats(x, 'x', [null, null]);
    checkColumnSizes(x, sizes);
    let begin = 0;
    return sizes.map((size) => {
      const view = new CpuTensor(this.#memory, from.address + 4 * begin, [x.shape[0], size], from.stride);
      begin += size;
      return view;
    });
  }

  concatColumns(parts: readonly Tensor[]): CpuTensor {
    return this.#rows.concatColumns(parts);
  }

  sliceRows(x: Tensor, begin: number, end: number): CpuTensor {
    const from = this.#floats(x, 'x', x.shape);
    checkRowRange(x, begin, end);
    const address = from.address + begin * from.byteStride;
    return new CpuTensor(this.#memory, address, [end - begin, ...x.shape.slice(1)], from.stride);
  }

  reshape(x: Tensor, shape: readonly number[]): CpuTensor {
    const from = this.#floats(x, 'x', x.shape);
    checkReshape(x, shape);
    return new CpuTensor(this.#memory, from.address, shape, from.stride);
  }

  copySlot(state: Tensor, from: number, to: number): void {
    checkSlot(state, from);
    checkSlot(state, to);
    if (isShort(state)) {
      state.copySlot(from, to);
      return;
    }
    const { address, byteStride, rowSize } = this.#floats(state, 'state', state.shape);
    const source = address + from * byteStride;
    this.#memory.bytes.copyWithin(address + to * byteStride, source, source + 4 * rowSize);
  }

  saveSlot(state: Tensor, slot: number, reuse?: SavedSlot): SavedSlot {
    checkSlot(state, slot);
    return isShort(state) ? state.save(slot, reuse) : saveOnHost(this.#slot(state, slot), reuse);
  }

  loadSlot(state: Tensor, slot: number, saved: SavedSlot): void {
    checkSlot(state, slot);
    if (isShort(state)) {
      state.load(slot, saved);
      return;
    }
    const values = this.#slot(state, slot);
    values.set(hostSlotValues(saved, values.length));
  }

  // --- dense layers -----------------------------------------------------------------------------------------------

  linearWeightWriter(outFeatures: number, inFeatures: number, dtype: WeightDType): LinearWeightWriter {
    const weight = new PackedWeight(this.#runtime, outFeatures, inFeatures, dtype);
    return { writeRows: (firstRow, values) => weight.writeRows(firstRow, values), finish: () => weight };
  }

  linearWeight(weight: Float32Array, outFeatures: number, inFeatures: number, dtype: WeightDType): LinearWeight {
    checkLength(weight.length, [outFeatures, inFeatures]);
    const writer = this.linearWeightWriter(outFeatures, inFeatures, dtype);
    writer.writeRows(0, weight);
    return writer.finish();
  }

  blockWeightWriter(outFeatures: number, inFeatures: number, format: BlockFormat): BlockWeightWriter {
    checkBlockColumns(inFeatures, format);
    const weight = isCodeFormat(format)
      ? new BlockWeight(this.#runtime, outFeatures, inFeatures, format)
      : new Fp8Weight(this.#runtime, outFeatures, inFeatures);
    return { writeBlocks: (firstRow, blocks) => weight.writeBlocks(firstRow, blocks), finish: () => weight };
  }

  linear(x: Tensor, weight: LinearWeight, bias?: Tensor): CpuTensor {
    return this.#linear.run(x, weight, bias);
  }

  embedding(ids: Tensor, table: LinearWeight, firstRow = 0): CpuTensor {
    const weight = cpuWeight(this.#memory, table);
    const out = CpuTensor.allocate(this.#memory, [ids.shape[0], weight.inFeatures]);
    const { outFeatures, inFeatures, address } = weight;
    const rows = [indexAddress(this.#memory, ids, 'ids', null), ids.shape[0], firstRow, outFeatures, address] as const;
    const to = [out.address, out.byteStride] as const;
    if (weight instanceof BlockWeight) {
      weight.kernels.embedding(...rows, inFeatures, ...to);
    } else {
      const kind = EMBEDDING_KINDS[weight instanceof Fp8Weight ? weight.dtype : weight.packing];
      this.#kernels.embeddingRows(...rows, inFeatures, kind, ...to);
    }
    return out;
  }

  gatherRows(x: Tensor, rows: Tensor): CpuTensor {
    const from = this.#floats(x, 'x', [null, null]);
    const indices = ints(rows, 'rows', null);
    const [T, C] = x.shape;
    const out = CpuTensor.allocate(this.#memory, [indices.length, C]);
    checkRowNumbers(indices, T);
    this.#kernels.gatherRows(
      from.address,
      from.byteStride,
      indexAddress(this.#memory, rows, 'rows', null),
      out.address,
      out.byteStride,
      indices.length,
      4 * C,
    );
    return out;
  }

  scatterRows(x: Tensor, rows: Tensor, into: Tensor): void {
    const to = this.#floats(into, 'into', [null, null]);
    const [T, C] = into.shape;
    const indices = ints(rows, 'rows', null);
    const from = this.#floats(x, 'x', [indices.length, C]);
    checkDistinctRows(indices, T);
    const places = indexAddress(this.#memory, rows, 'rows', null);
    const { length } = indices;
    this.#kernels.cacheRows(
      from.address,
      from.byteStride,
      to.address,
      to.byteStride,
      1,
      1,
      C,
      KV_FORMATS.float32,
      places,
      length,
    );
  }

  add(x: Tensor, y: Tensor): CpuTensor {
    return this.#rows.add(x, y);
  }

  mulScalar(x: Tensor, factor: number): CpuTensor {
    return this.#rows.mulScalar(x, factor);
  }

  mulColumns(x: Tensor, v: Tensor): CpuTensor {
    return this.#rows.mulColumns(x, v);
  }

  // --- norms ------------------------------------------------------------------------------------------------------

  rmsNorm(x: Tensor, weight: Tensor, eps: number): CpuTensor {
    return this.#rows.rmsNorm(x, weight, eps);
  }

  siluGate(x: Tensor, z: Tensor): CpuTensor {
    return this.#rows.siluGate(x, z);
  }

  groupSquareSums(v: Tensor, groups: number, layout: GroupLayout): CpuTensor {
    return this.#rows.groupSquareSums(v, groups, layout);
  }

  scaleByGroupNorm(v: Tensor, squareSums: Tensor, weight: Tensor, eps: number, layout: GroupLayout): CpuTensor {
    return this.#rows.scaleByGroupNorm(v, squareSums, weight, eps, layout);
  }

  scaleRows(x: Tensor, squareSums: Tensor, count: number, eps: number): CpuTensor {
    return this.#rows.scaleRows(x, squareSums, count, eps);
  }

  // --- state-space operations -------------------------------------------------------------------------------------

  causalConv1dFn(args: CausalConv1dArgs): Tensor {
    return this.#convolution.sequences(args);
  }

  causalConv1dUpdate(args: CausalConv1dUpdateArgs): Tensor {
    return this.#convolution.update(args);
  }

  mambaChunkScan(args: ChunkScanArgs): Tensor {
    return this.#scan.sequences(args);
  }

  selectiveStateUpdate(args: SelectiveStateUpdateArgs): Tensor {
    return this.#scan.update(args);
  }

  logDecaySums(args: LogDecayArgs): Tensor {
    return logDecaySums(this.#runtime, args);
  }

  // --- attention --------------------------------------------------------------------------------------------------

  rotaryTable(positions: Tensor, inverseFrequencies: Tensor, scale: number): CpuTensor {
    return this.#attention.rotaryTable(positions, inverseFrequencies, scale);
  }

  rotaryEmbedding(x: Tensor, table: Tensor, headDim: number): CpuTensor {
    return this.#attention.rotaryEmbedding(x, table, headDim);
  }

  reshapeAndCache(args: ReshapeAndCacheArgs): void {
    this.#attention.reshapeAndCache(args);
  }

  pagedAttention(args: PagedAttentionArgs): CpuTensor {
    return this.#attention.pagedAttention(args);
  }

  // --- feed-forward layers and experts ----------------------------------------------------------------------------

  activate(x: Tensor, activation: MlpActivation): CpuTensor {
    return this.#feedForward.activate(x, activation);
  }

  activateAndMul(gate: Tensor, x: Tensor, activation: MlpActivation): CpuTensor {
    return this.#feedForward.activateAndMul(gate, x, activation);
  }

  topKRouting(logits: Tensor, options: RoutingOptions, correctionBias?: Tensor): CpuTensor {
    return this.#feedForward.topKRouting(logits, options, correctionBias);
  }

  fusedMoe(
    x: Tensor,
    routing: Tensor,
    experts: readonly ExpertWeights[],
    activation: MlpActivation,
    gated: boolean,
  ): CpuTensor {
    return this.#experts.fusedMoe(x, routing, experts, activation, gated);
  }

  // --- collectives ------------------------------------------------------------------------------------------------

  allReduce(tensors: readonly Tensor[], group: ProcessGroup): Tensor[] {
    return this.#collectives.allReduce(tensors, group);
  }

  allGatherColumns(x: Tensor, group: ProcessGroup): Tensor {
    return this.#collectives.allGatherColumns(x, group);
  }

  /** The memory of one slot. Valid until the memory grows. */
  #slot(state: Tensor, slot: number): Float32Array {
    const { address, stride, rowSize } = this.#floats(state, 'state', state.shape);
    const begin = address / 4 + slot * stride;
    return this.#memory.floats.subarray(begin, begin + rowSize);
  }

  #floats(x: Tensor, name: string, expected: readonly (number | null)[]): CpuTensor {
    return cpuFloats(this.#memory, x, name, expected);
  }
}

function isShort(x: Tensor): x is CpuState | CpuKvCache {
  return x instanceof CpuState || x instanceof CpuKvCache;
}
