import { GpuError } from '../../../errors.ts';
import type { Storage } from '../device/gpu-tensor.ts';
import type { FusedOperation, NormLinearOperation } from '../ops/fused-operation.ts';
import type { Operation } from './operation.ts';

/** Rows of a product as float16 in tiles: see float16-tiles.wgsl. */
export interface HalfRows {
  readonly storage: Storage;
  /** Present where the rows are not divided by their norm: their sums of squares, in as many pieces a row. */
  readonly squares: { readonly storage: Storage; readonly pieces: number } | undefined;
}

/**
 * What an operation does of the one behind it, because its kernel can do so by the way: an operation that is lowered looks
 * at those that follow, does what they let it do, and leaves a note for them.
 */
export class Handover {
  readonly #next = new Map<Operation | FusedOperation, Operation | FusedOperation>();
  readonly #rows = new Map<FusedOperation, HalfRows>();

  constructor(operations: readonly (Operation | FusedOperation)[]) {
    for (let i = 1; i < operations.length; i++) this.#next.set(operations[i - 1], operations[i]);
  }

  /** The operation behind this one. */
  after(operation: Operation | FusedOperation): Operation | FusedOperation | undefined {
    return this.#next.get(operation);
  }

  /** The operation's rows are made already. */
  giveRows(operation: NormLinearOperation, rows: HalfRows): void {
    this.#rows.set(operation, rows);
  }

  rowsOf(operation: NormLinearOperation): HalfRows | undefined {
    return this.#rows.get(operation);
  }

  /** @throws GpuError when the operation counts on a kernel that is not going to run: then its results would be wrong. */
  assertNothingFor(operation: FusedOperation): void {
    if (this.#rows.has(operation)) {
      throw new GpuError(`A part of '${operation.type}' was done for a kernel that does not run.`);
    }
  }
}
