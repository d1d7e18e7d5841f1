import { GpuIndices, GpuTensor, type Storage } from '../device/gpu-tensor.ts';
import type { FusedOperation } from '../ops/fused-operation.ts';
import { storagesOf } from './command.ts';
import type { Operation } from './operation.ts';

/**
 * Several operations as one. `at` is the place of the first; → what takes the place of how many operations from there on, or
 * undefined where it does not apply.
 */
export type Fusion = (
  operations: readonly Operation[],
  at: number,
  uses: TensorUses,
) => { readonly operation: Operation | FusedOperation; readonly count: number } | undefined;

/** Replaces neighbours by what computes the same at once. The first fusion that applies is taken. */
export function fuse(
  operations: readonly Operation[],
  fusions: readonly Fusion[],
  kept: readonly Storage[],
): (Operation | FusedOperation)[] {
  const uses = new TensorUses(operations, kept);
  const fused: (Operation | FusedOperation)[] = [];
  for (let at = 0; at < operations.length; ) {
    const found = firstThatApplies(fusions, operations, at, uses);
    fused.push(found?.operation ?? operations[at]);
    at += found?.count ?? 1;
  }
  return fused;
}

function firstThatApplies(fusions: readonly Fusion[], operations: readonly Operation[], at: number, uses: TensorUses) {
  for (const fusion of fusions) {
    const found = fusion(operations, at, uses);
    if (found) return found;
  }
  return undefined;
}

/** Who reads what in a list of operations. */
export class TensorUses {
  readonly #readers = new Map<Storage, Reader[]>();
  readonly #kept: ReadonlySet<Storage>;

  constructor(operations: readonly Operation[], kept: readonly Storage[]) {
    this.#kept = new Set(kept);
    for (const operation of operations) {
      for (const { storage, tensor } of readBy(operation)) {
        const readers = this.#readers.get(storage) ?? [];
        readers.push({ operation, tensor });
        this.#readers.set(storage, readers);
      }
    }
  }

  /** Whether nobody but these operations ever reads the tensor's memory: then it need not be written. */
  isOnlyReadBy({ storage }: GpuTensor, ...readers: readonly Operation[]): boolean {
    if (!storage.isTemporary || this.#kept.has(storage)) return false;
    return (this.#readers.get(storage) ?? []).every(({ operation }) => readers.includes(operation));
  }

  /** The same of the columns that a tensor covers of larger rows, `columns` of them. */
  isColumnsOnlyReadBy({ storage, offset, stride }: GpuTensor, columns: number, reader: Operation): boolean {
    if (!storage.isTemporary || this.#kept.has(storage)) return false;
    const begin = offset % stride;
    return (this.#readers.get(storage) ?? []).every(({ operation, tensor }) => {
      if (operation === reader) return true;
      if (!tensor || tensor.stride !== stride) return false;
      const otherBegin = tensor.offset % stride;
      return otherBegin >= begin + columns || otherBegin + tensor.rowSize <= begin;
    });
  }
}

interface Reader {
  readonly operation: Operation;
  /** Where it reads in the storage, if that is known. */
  readonly tensor: GpuTensor | undefined;
}

/** A place that is read. */
interface Read {
  readonly storage: Storage;
  readonly tensor: GpuTensor | undefined;
}

function readBy(operation: Operation): Read[] {
  if (operation.type === 'command') {
    return storagesOf(operation.command).map((storage) => ({ storage, tensor: undefined }));
  }
  const { out, ...inputs } = operation;
  return Object.values(inputs).flatMap((input): Read[] => {
    if (input instanceof GpuTensor) return input.parts.map(({ tensor }) => ({ storage: tensor.storage, tensor }));
    return input instanceof GpuIndices ? [{ storage: input.storage, tensor: undefined }] : [];
  });
}
