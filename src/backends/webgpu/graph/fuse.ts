import type { GpuTensor, Storage } from '../device/gpu-tensor.ts';
import type { Operation, Read } from './operation.ts';

/**
 * Several operations as one. `at` is the place of the first. Returns what takes the place of how many operations from
 * there on, or undefined where the fusion does not apply.
 */
export type Fusion = (
  operations: readonly Operation[],
  at: number,
  uses: TensorUses,
) => { readonly operation: Operation; readonly count: number } | undefined;

/** Replaces neighbours by one operation that computes the same. The first fusion that applies is taken. */
export function fuse(
  operations: readonly Operation[],
  fusions: readonly Fusion[],
  kept: readonly Storage[],
): Operation[] {
  const uses = new TensorUses(operations, kept);
  const fused: Operation[] = [];
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

/** Operations of a list by the tensors that they read. */
export class TensorUses {
  readonly #readers = new Map<Storage, ReadingOperation[]>();
  readonly #kept: ReadonlySet<Storage>;

  constructor(operations: readonly Operation[], kept: readonly Storage[]) {
    this.#kept = new Set(kept);
    for (const operation of operations) {
      for (const read of operation.kind.readBy(operation)) {
        const readers = this.#readers.get(read.storage) ?? [];
        readers.push({ ...read, operation });
        this.#readers.set(read.storage, readers);
      }
    }
  }

  /** Whether no operation but these ever reads the tensor's memory: then the tensor need not be written. */
  isOnlyReadBy({ storage }: GpuTensor, ...readers: readonly Operation[]): boolean {
    if (!storage.isTemporary || this.#kept.has(storage)) return false;
    return (this.#readers.get(storage) ?? []).every(({ operation }) => readers.includes(operation));
  }

  /** Whether no other operation reads the `columns` columns of larger rows that a tensor covers. */
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

interface ReadingOperation extends Read {
  readonly operation: Operation;
}
