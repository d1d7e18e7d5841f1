import type { ProcessGroup } from '../../distributed/process-group.ts';
import type { WeightDType } from '../../tensor/dtype.ts';
import type { KvCacheDType } from '../../tensor/kv-cache-dtype.ts';
import { roundState, type StateDType } from '../../tensor/state-dtype.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { checkColumnSizes, checkConcat, checkLength, checkReshape, checkRowRange } from '../contract/arrays.ts';
import type { Backend } from '../contract/backend.ts';
import { contiguous, floats, HostKvCache, HostState, HostTensor, hostZeros } from '../contract/host-tensor.ts';
import type { LinearWeight, LinearWeightWriter } from '../contract/linear.ts';
import { checkSlot, hostSlotValues, type SavedSlot, saveOnHost } from '../contract/slots.ts';
import { type RepeatableStep, type StepInputs, type StepResults, stepTensors } from '../contract/steps.ts';
import { pagedAttention, reshapeAndCache, rotaryEmbedding, rotaryTable } from './attention.ts';
import { causalConv1dFn, causalConv1dUpdate } from './causal-conv1d.ts';
import {
  add,
  embedding,
  gatherRows,
  HostLinearWeight,
  hostLinearWeight,
  linear,
  mulColumns,
  mulScalar,
  scatterRows,
} from './dense.ts';
import { activate, activateAndMul, fusedMoe, topKRouting } from './feed-forward.ts';
import { groupSquareSums, rmsNorm, scaleByGroupNorm, scaleRows, siluGate } from './norms.ts';
import { logDecaySums, mambaChunkScan, referenceReplay, selectiveStateUpdate } from './state-space.ts';

/**
 * The contract in plain TypeScript: slow, obvious, and what every other backend is measured against.
 *
 * @example
 * ```ts
 * const backend = new ReferenceBackend();
 * const x = backend.tensor(new Float32Array([1, 2, 3]), [1, 3]);
 * const values = await backend.read(backend.mulScalar(x, 2)); // 2, 4, 6
 * ```
 */
export class ReferenceBackend implements Backend {
  readonly name = 'reference';
  readonly replay = referenceReplay;

  readonly linear = linear;
  readonly embedding = embedding;
  readonly gatherRows = gatherRows;
  readonly scatterRows = scatterRows;
  readonly add = add;
  readonly mulScalar = mulScalar;
  readonly mulColumns = mulColumns;
  readonly rmsNorm = rmsNorm;
  readonly siluGate = siluGate;
  readonly groupSquareSums = groupSquareSums;
  readonly scaleByGroupNorm = scaleByGroupNorm;
  readonly scaleRows = scaleRows;
  readonly causalConv1dFn = causalConv1dFn;
  readonly causalConv1dUpdate = causalConv1dUpdate;
  readonly mambaChunkScan = mambaChunkScan;
  readonly selectiveStateUpdate = selectiveStateUpdate;
  readonly logDecaySums = logDecaySums;
  readonly rotaryTable = rotaryTable;
  readonly rotaryEmbedding = rotaryEmbedding;
  readonly reshapeAndCache = reshapeAndCache;
  readonly pagedAttention = pagedAttention;
  readonly activate = activate;
  readonly activateAndMul = activateAndMul;
  readonly topKRouting = topKRouting;
  readonly fusedMoe = fusedMoe;

  scope<T>(run: () => T): T {
    return run();
  }

  part(_: readonly number[], run: () => Tensor): Tensor {
    return run();
  }

  step<I extends StepInputs, R extends StepResults>({ inputs, compute }: RepeatableStep<I, R>): R {
    return compute(stepTensors(inputs, (values) => this.tensor(values, [values.length])));
  }

  tensor(data: Float32Array | Int32Array, shape: readonly number[]): HostTensor {
    checkLength(data.length, shape);
    return new HostTensor(data.slice(), shape);
  }

  zeros(shape: readonly number[], dtype: StateDType = 'float32'): HostTensor {
    const { data } = hostZeros(shape);
    return dtype === 'float32' ? new HostTensor(data, shape) : new HostState(data, shape, dtype);
  }

  empty(shape: readonly number[], dtype: KvCacheDType = 'float32'): HostTensor {
    const zeros = hostZeros(shape);
    return dtype === 'float32' ? zeros : new HostKvCache(zeros.data, shape, dtype);
  }

  async read(x: Tensor, reuse?: Float32Array<ArrayBuffer>): Promise<Float32Array<ArrayBuffer>> {
    return contiguous(floats(x, 'x', x.shape), reuse);
  }

  splitColumns(x: Tensor, sizes: readonly number[]): HostTensor[] {
    const from = floats(x, 'x', [null, null]);
    checkColumnSizes(x, sizes);
    let begin = 0;
    return sizes.map((size) => {
      const view = new HostTensor(from.data.subarray(begin), [x.shape[0], size], from.stride);
      begin += size;
      return view;
    });
  }

  concatColumns(parts: readonly Tensor[]): HostTensor {
    const [T] = checkConcat(parts);
    const out = hostZeros([T, parts.reduce((sum, { shape }) => sum + shape[1], 0)]);
    let begin = 0;
    for (const part of parts) {
      const target = new HostTensor(out.data.subarray(begin), part.shape, out.stride);
      const [from, to] = [rowsOf(floats(part, 'a part', part.shape)), rowsOf(target)];
      for (const [t, row] of to.entries()) row.set(from[t]);
      begin += part.shape[1];
    }
    return out;
  }

  sliceRows(x: Tensor, begin: number, end: number): HostTensor {
    const from = floats(x, 'x', x.shape);
    checkRowRange(x, begin, end);
    return new HostTensor(from.data.subarray(begin * from.stride), [end - begin, ...x.shape.slice(1)], from.stride);
  }

  reshape(x: Tensor, shape: readonly number[]): HostTensor {
    const from = floats(x, 'x', x.shape);
    checkReshape(x, shape);
    return new HostTensor(from.data, shape, from.stride);
  }

  copySlot(state: Tensor, from: number, to: number): void {
    const { data, stride, rowSize } = floats(state, 'state', state.shape);
    checkSlot(state, from);
    checkSlot(state, to);
    data.copyWithin(to * stride, from * stride, from * stride + rowSize);
  }

  saveSlot(state: Tensor, slot: number, reuse?: SavedSlot): SavedSlot {
    const { data, stride, rowSize } = floats(state, 'state', state.shape);
    checkSlot(state, slot);
    return saveOnHost(data.subarray(slot * stride, slot * stride + rowSize), reuse);
  }

  loadSlot(state: Tensor, slot: number, saved: SavedSlot): void {
    const { data, stride, rowSize } = floats(state, 'state', state.shape);
    checkSlot(state, slot);
    const values = hostSlotValues(saved, rowSize);
    data.set(rounded(values, state), slot * stride);
  }

  linearWeightWriter(outFeatures: number, inFeatures: number, dtype: WeightDType): LinearWeightWriter {
    const weight = new HostLinearWeight(outFeatures, inFeatures, dtype);
    return { writeRows: (firstRow, values) => weight.writeRows(firstRow, values), finish: () => weight };
  }

  linearWeight(weight: Float32Array, outFeatures: number, inFeatures: number, dtype: WeightDType): LinearWeight {
    return hostLinearWeight(weight, outFeatures, inFeatures, dtype);
  }

  allReduce(tensors: readonly Tensor[], group: ProcessGroup): Tensor[] {
    if (group.size === 1) return [...tensors];
    const sums = tensors.map((x) => new HostTensor(contiguous(floats(x, 'x', x.shape)), x.shape));
    group.allReduce(sums.map(({ data }) => data));
    return sums;
  }

  allGatherColumns(x: Tensor, group: ProcessGroup): Tensor {
    if (group.size === 1) return x;
    const [T, C] = x.shape;
    const own = floats(x, 'x', [T, C]);
    const out = hostZeros([T, group.size * C]);
    const columns = Array.from(
      { length: group.size },
      (_, r) => new HostTensor(out.data.subarray(r * C), [T, C], out.stride),
    );
    group.allGather(
      rowsOf(own),
      columns.map((part) => rowsOf(part)),
    );
    return out;
  }
}

/** Values that a state or a cache can have. */
function rounded(values: Float32Array, state: Tensor): Float32Array {
  if (state instanceof HostKvCache) return state.rounded(values);
  return state instanceof HostState ? values.map((value) => roundState(value, state.dtype)) : values;
}

function rowsOf({ data, shape: [T, C], stride }: HostTensor<Float32Array>): Float32Array[] {
  return Array.from({ length: T }, (_, t) => data.subarray(t * stride, t * stride + C));
}
