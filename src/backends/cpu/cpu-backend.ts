import type { ProcessGroup } from '../../distributed/process-group.ts';
import { ArgumentError } from '../../errors.ts';
import type { WeightDType } from '../../tensor/dtype.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { Backend, GroupLayout, LinearWeight } from '../backend.ts';
import { checkGroups } from '../group-check.ts';
import { contiguous, HostTensor, ints } from '../reference/host-tensor.ts';
import { hostSlotValues, type SavedSlot, saveOnHost } from '../saved-slot.ts';
import { checkColumnSizes, checkLength, checkReshape, checkRowRange, checkSlot } from '../shape-check.ts';
import type {
  CausalConv1dArgs,
  CausalConv1dUpdateArgs,
  ChunkScanArgs,
  SelectiveStateUpdateArgs,
} from '../state-space-ops.ts';
import { CpuConvolution } from './convolution.ts';
import type { CpuMemory } from './cpu-memory.ts';
import { CpuTensor, cpuFloats, vectorAddress } from './cpu-tensor.ts';
import { CpuLinear } from './linear.ts';
import type { LoadedKernels } from './load-kernels.ts';
import { PackedWeight, packedWeight } from './packed-weight.ts';
import { CpuScan } from './scan.ts';

/**
 * WebAssembly SIMD in the calling thread. A row's results have the same bits whatever else is in the batch, however its
 * sequence is split, prefilled or decoded: every kernel sums in an order that does not depend on the number of rows.
 */
export class CpuBackend implements Backend {
  readonly name = 'cpu';
  readonly #memory: CpuMemory;
  readonly #kernels: LoadedKernels['kernels'];
  readonly #linear: CpuLinear;
  readonly #convolution: CpuConvolution;
  readonly #scan: CpuScan;

  constructor(loaded: LoadedKernels) {
    this.#memory = loaded.memory;
    this.#kernels = loaded.kernels;
    this.#linear = new CpuLinear(loaded.memory, loaded.kernels);
    this.#convolution = new CpuConvolution(loaded.memory, loaded.kernels);
    this.#scan = new CpuScan(loaded.memory, loaded.kernels);
  }

  // --- arrays -----------------------------------------------------------------------------------------------------

  scope<T>(run: () => T): T {
    return this.#memory.scope(run);
  }

  tensor(data: Float32Array | Int32Array, shape: readonly number[]): Tensor {
    checkLength(data.length, shape);
    // Slots and row starts steer loops on the host.
    if (data instanceof Int32Array) return new HostTensor(data.slice(), shape);
    const out = CpuTensor.allocate(this.#memory, shape);
    const { rowSize } = out;
    for (let r = 0; r < (shape[0] ?? 1); r++) {
      this.#memory.floats.set(data.subarray(r * rowSize, (r + 1) * rowSize), out.address / 4 + r * out.stride);
    }
    return out;
  }

  zeros(shape: readonly number[]): CpuTensor {
    const out = CpuTensor.allocate(this.#memory, shape);
    this.#memory.bytes.fill(0, out.address, out.address + (shape[0] ?? 1) * out.byteStride);
    return out;
  }

  async read(x: Tensor): Promise<Float32Array<ArrayBuffer>> {
    return contiguous(this.#floats(x, 'x', x.shape).view());
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
    const { address, byteStride, rowSize } = this.#floats(state, 'state', state.shape);
    checkSlot(state, from);
    checkSlot(state, to);
    const source = address + from * byteStride;
    this.#memory.bytes.copyWithin(address + to * byteStride, source, source + 4 * rowSize);
  }

  saveSlot(state: Tensor, slot: number, reuse?: SavedSlot): SavedSlot {
    return saveOnHost(this.#slot(state, slot), reuse);
  }

  loadSlot(state: Tensor, slot: number, saved: SavedSlot): void {
    const values = this.#slot(state, slot);
    values.set(hostSlotValues(saved, values.length));
  }

  // --- dense layers -----------------------------------------------------------------------------------------------

  linearWeight(weight: Float32Array, outFeatures: number, inFeatures: number, dtype: WeightDType): LinearWeight {
    return new PackedWeight(this.#memory, weight, outFeatures, inFeatures, dtype);
  }

  linear(x: Tensor, weight: LinearWeight, bias?: Tensor): CpuTensor {
    return this.#linear.run(x, weight, bias);
  }

  embedding(ids: Tensor, table: LinearWeight, firstRow = 0): CpuTensor {
    const weight = packedWeight(this.#memory, table);
    const rows = ints(ids, 'ids', null);
    const out = this.zeros([rows.length, weight.inFeatures]);
    rows.forEach((id, t) => {
      const row = id - firstRow;
      if (row < 0 || row >= weight.outFeatures) return;
      const begin = out.address / 4 + t * out.stride;
      weight.unpackRow(row, this.#memory.floats.subarray(begin, begin + weight.inFeatures));
    });
    return out;
  }

  gatherRows(x: Tensor, rows: Tensor): CpuTensor {
    const from = this.#floats(x, 'x', [null, null]);
    const indices = ints(rows, 'rows', null);
    const [T, C] = x.shape;
    const out = CpuTensor.allocate(this.#memory, [indices.length, C]);
    indices.forEach((row, r) => {
      if (row < 0 || row >= T) throw new ArgumentError(`Row ${row} of a tensor of ${T} rows was asked for.`);
      const source = from.address + row * from.byteStride;
      this.#memory.bytes.copyWithin(out.address + r * out.byteStride, source, source + 4 * C);
    });
    return out;
  }

  add(x: Tensor, y: Tensor): CpuTensor {
    const [T, C] = x.shape;
    const a = this.#floats(x, 'x', [null, null]);
    const b = this.#floats(y, 'y', [T, C]);
    const out = CpuTensor.allocate(this.#memory, [T, C]);
    this.#kernels.add(a.address, a.byteStride, b.address, b.byteStride, out.address, out.byteStride, T, C);
    return out;
  }

  mulColumns(x: Tensor, v: Tensor): CpuTensor {
    const [T, C] = x.shape;
    const a = this.#floats(x, 'x', [null, null]);
    const factors = vectorAddress(this.#memory, v, 'v', C);
    const out = CpuTensor.allocate(this.#memory, [T, C]);
    this.#kernels.mulColumns(a.address, a.byteStride, factors, out.address, out.byteStride, T, C);
    return out;
  }

  // --- norms ------------------------------------------------------------------------------------------------------

  rmsNorm(x: Tensor, weight: Tensor, eps: number): CpuTensor {
    const [T, C] = x.shape;
    const a = this.#floats(x, 'x', [null, null]);
    const scales = vectorAddress(this.#memory, weight, 'weight', C);
    const out = CpuTensor.allocate(this.#memory, [T, C]);
    this.#kernels.rmsNorm(a.address, a.byteStride, scales, out.address, out.byteStride, T, C, eps);
    return out;
  }

  siluGate(x: Tensor, z: Tensor): CpuTensor {
    const [T, C] = x.shape;
    const a = this.#floats(x, 'x', [null, null]);
    const gate = this.#floats(z, 'z', [T, C]);
    const out = CpuTensor.allocate(this.#memory, [T, C]);
    this.#kernels.siluGate(a.address, a.byteStride, gate.address, gate.byteStride, out.address, out.byteStride, T, C);
    return out;
  }

  groupSquareSums(v: Tensor, groups: number, layout: GroupLayout): CpuTensor {
    const values = this.#floats(v, 'v', [null, null]);
    const [T, C] = v.shape;
    checkGroups(C, groups, layout);
    const out = CpuTensor.allocate(this.#memory, [T, groups]);
    const { groupSize, firstColumn } = layout;
    this.#kernels.groupSquareSums(
      values.address,
      values.byteStride,
      out.address,
      out.byteStride,
      T,
      C,
      groups,
      groupSize,
      firstColumn,
    );
    return out;
  }

  scaleByGroupNorm(v: Tensor, squareSums: Tensor, weight: Tensor, eps: number, layout: GroupLayout): CpuTensor {
    const [T, C] = v.shape;
    const values = this.#floats(v, 'v', [null, null]);
    const sums = this.#floats(squareSums, 'squareSums', [T, null]);
    const scales = vectorAddress(this.#memory, weight, 'weight', C);
    checkGroups(C, squareSums.shape[1], layout);
    const out = CpuTensor.allocate(this.#memory, [T, C]);
    const { groupSize, firstColumn } = layout;
    this.#kernels.scaleByGroupNorm(
      values.address,
      values.byteStride,
      sums.address,
      sums.byteStride,
      scales,
      out.address,
      out.byteStride,
      T,
      C,
      groupSize,
      firstColumn,
      eps,
    );
    return out;
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

  // --- collectives ------------------------------------------------------------------------------------------------

  allReduce(x: Tensor, group: ProcessGroup): Tensor {
    if (group.size === 1) return x;
    const own = this.#floats(x, 'x', x.shape);
    const { floats } = this.#memory;
    const begin = own.address / 4;
    const rows = x.shape[0] ?? 1;
    // Padding goes along where there is any: one exchange is quicker than one per row.
    group.allReduce(floats.subarray(begin, begin + Math.max(0, (rows - 1) * own.stride + own.rowSize)));
    return x;
  }

  allGatherColumns(x: Tensor, group: ProcessGroup): Tensor {
    if (group.size === 1) return x;
    const [T, C] = x.shape;
    const gathered = group.allGather(contiguous(this.#floats(x, 'x', [T, C]).view()));
    const out = CpuTensor.allocate(this.#memory, [T, group.size * C]);
    for (let r = 0; r < group.size; r++) {
      for (let t = 0; t < T; t++) {
        const row = gathered.subarray((r * T + t) * C, (r * T + t + 1) * C);
        this.#memory.floats.set(row, out.address / 4 + t * out.stride + r * C);
      }
    }
    return out;
  }

  /** The memory of one slot. Valid until the memory grows. */
  #slot(state: Tensor, slot: number): Float32Array {
    const { address, stride, rowSize } = this.#floats(state, 'state', state.shape);
    checkSlot(state, slot);
    const begin = address / 4 + slot * stride;
    return this.#memory.floats.subarray(begin, begin + rowSize);
  }

  #floats(x: Tensor, name: string, expected: readonly (number | null)[]): CpuTensor {
    return cpuFloats(this.#memory, x, name, expected);
  }
}
