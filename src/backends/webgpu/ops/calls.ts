import { elementCount, type Tensor } from '../../../tensor/tensor.ts';
import { checkQueryStartLoc, checkSlots, slotsOrDefault } from '../../contract/sequences.ts';
import type { ChunkScanArgs } from '../../contract/state-space.ts';
import { GpuIndices, type GpuTensor, gpuFloats, gpuIndices } from '../device/gpu-tensor.ts';
import type { GpuArrays } from '../graph/arrays.ts';
import type { OperationKind } from '../graph/operation.ts';
import type { PendingWork } from '../graph/pending-work.ts';
import { COPY_ROWS } from './rows/copy-rows.ts';
import { LastSequences, makeSequenceTable, type SequenceTable } from './sequence-table.ts';

/** The context in which the operations of one backend check and enqueue calls. */
export class Calls {
  readonly owner: object;
  readonly work: PendingWork;
  readonly arrays: GpuArrays;
  readonly #lastSequences: LastSequences;

  constructor(owner: object, work: PendingWork, arrays: GpuArrays) {
    this.owner = owner;
    this.work = work;
    this.arrays = arrays;
    this.#lastSequences = new LastSequences(() => work.isInScope);
  }

  /** The tensor as one of this backend. @throws ShapeError, ArgumentError */
  floats(x: Tensor, name: string, expected: readonly (number | null)[]): GpuTensor {
    return gpuFloats(this.owner, x, name, expected);
  }

  /** The tensor, if there is one, as one of this backend. @throws ShapeError, ArgumentError */
  optional(x: Tensor | undefined, name: string, expected: readonly (number | null)[]): GpuTensor | undefined {
    return x && this.floats(x, name, expected);
  }

  /** The int32 vector as one of this backend. @throws ShapeError, ArgumentError */
  indices(x: Tensor, name: string, length: number | null): GpuIndices {
    return gpuIndices(this.owner, x, name, length);
  }

  enqueue<Operands extends object>(kind: OperationKind<Operands>, operands: Operands): void {
    this.work.enqueue(kind.of(operands));
  }

  /** A new tensor, which an operation fills; nothing is enqueued for an empty one. */
  make<Operands extends { readonly out: GpuTensor }>(
    kind: OperationKind<Operands>,
    shape: readonly number[],
    operands: Omit<Operands, 'out'>,
  ): GpuTensor {
    const out = this.arrays.make(shape);
    if (elementCount(shape) > 0) this.enqueue(kind, { ...operands, out } as Operands);
    return out;
  }

  /** A new int32 vector of values that the host knows. */
  newIndices(data: Int32Array, shape: readonly number[] = [data.length]): GpuIndices {
    return new GpuIndices(this.work.storage(4 * data.length, data), data, shape);
  }

  /** The sequence table of a call, checked. All layers of a step have the same sequences, and share one table. */
  sequences(
    args: Pick<ChunkScanArgs, 'queryStartLoc' | 'cacheIndices' | 'hasInitialState'>,
    rows: number,
    slotCount: number,
    positions?: GpuIndices,
  ): SequenceTable {
    const startLoc = this.indices(args.queryStartLoc, 'queryStartLoc', null);
    const starts = checkQueryStartLoc(startLoc, rows);
    const count = starts.length - 1;
    const given = args.cacheIndices && this.indices(args.cacheIndices, 'cacheIndices', count);
    const slots = slotsOrDefault(given, 'cacheIndices', count);
    checkSlots(slots, slotCount, 'cacheIndices');
    const hasInitialState = args.hasInitialState && this.indices(args.hasInitialState, 'hasInitialState', count);
    if (positions) this.indices(positions, 'positions', count);
    return this.#lastSequences.get([startLoc, given, hasInitialState], positions, () =>
      makeSequenceTable(starts, slots, hasInitialState?.data, positions?.data, (values) => this.newIndices(values)),
    );
  }

  /**
   * The tensor that an operation writes: the caller's, or if that shares memory with what the operation reads, which the
   * device can't bind both ways, a new one that `finish` copies over.
   */
  target(out: Tensor | undefined, shape: readonly number[], inputs: readonly (GpuTensor | undefined)[]) {
    const given = this.optional(out, 'out', shape);
    const shares = given && inputs.some((input) => input?.storage === given.storage);
    if (given && !shares) return { out: given, finish: () => given };
    const fresh = this.arrays.make(shape);
    const finish = () => {
      if (!given) return fresh;
      if (!given.isEmpty) this.enqueue(COPY_ROWS, { x: fresh, out: given });
      return given;
    };
    return { out: fresh, finish };
  }
}
