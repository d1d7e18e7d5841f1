import type { Storage } from '../device/gpu-tensor.ts';

/** Rows of a product as float16 in tiles: see float16-tiles.wgsl. */
export interface HalfRows {
  readonly storage: Storage;
  /** Present where the rows are not divided by their norm: their sums of squares, in as many pieces a row. */
  readonly squares: { readonly storage: Storage; readonly pieces: number } | undefined;
}

/** An operation, of which only the identity matters here: see operation.ts. */
type AnyOperation = object;

/**
 * Work that an operation takes over from its successor inside its own kernel. While an operation is lowered, it looks
 * at its successors, does the work that they allow, and leaves a note for them.
 */
export class Handover {
  readonly #next = new Map<AnyOperation, AnyOperation>();
  readonly #rows = new Map<AnyOperation, HalfRows>();

  constructor(operations: readonly AnyOperation[]) {
    for (let i = 1; i < operations.length; i++) this.#next.set(operations[i - 1], operations[i]);
  }

  /** The operation that follows this one. */
  after(operation: AnyOperation): AnyOperation | undefined {
    return this.#next.get(operation);
  }

  /** Notes that the operation's rows are made already. */
  giveRows(operation: AnyOperation, rows: HalfRows): void {
    this.#rows.set(operation, rows);
  }

  rowsOf(operation: AnyOperation): HalfRows | undefined {
    return this.#rows.get(operation);
  }

  /** Whether rows were made for the operation, so that it needs a kernel that uses them. */
  hasRowsFor(operation: AnyOperation): boolean {
    return this.#rows.has(operation);
  }
}
