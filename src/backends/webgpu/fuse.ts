import { storagesOf } from './command.ts';
import { GpuIndices, GpuTensor, type Storage } from './gpu-tensor.ts';
import type { Operation } from './operation.ts';

/**
 * Several operations as one. `at` is the place of the first; → what takes the place of how many operations from there on, or
 * undefined where it does not apply.
 */
export type Fusion = (
  operations: readonly Operation[],
  at: number,
  uses: TensorUses,
) => { readonly operation: Operation; readonly count: number } | undefined;

/** Replaces neighbours by what computes the same at once. The first fusion that applies is taken. */
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

/** Who reads what in a list of operations. */
export class TensorUses {
  readonly #readers = new Map<Storage, Set<Operation>>();
  readonly #kept: ReadonlySet<Storage>;

  constructor(operations: readonly Operation[], kept: readonly Storage[]) {
    this.#kept = new Set(kept);
    for (const operation of operations) {
      for (const storage of readBy(operation)) {
        const readers = this.#readers.get(storage) ?? new Set();
        this.#readers.set(storage, readers.add(operation));
      }
    }
  }

  /** Whether nobody but these operations ever reads the tensor's memory: then it need not be written. */
  isOnlyReadBy({ storage }: GpuTensor, ...readers: readonly Operation[]): boolean {
    if (!storage.isTemporary || this.#kept.has(storage)) return false;
    return [...(this.#readers.get(storage) ?? [])].every((reader) => readers.includes(reader));
  }
}

function readBy(operation: Operation): Storage[] {
  if (operation.type === 'command') return [...storagesOf(operation.command)];
  const { out, ...inputs } = operation;
  return Object.values(inputs).flatMap((input) => {
    if (input instanceof GpuTensor) return input.parts.map(({ tensor }) => tensor.storage);
    return input instanceof GpuIndices ? [input.storage] : [];
  });
}
