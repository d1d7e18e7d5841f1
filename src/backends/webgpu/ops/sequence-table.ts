import type { Tensor } from '../../../tensor/tensor.ts';
import type { GpuIndices } from '../device/gpu-tensor.ts';

/** Tokens in a chunk of the scan. */
export const CHUNK = 128;

/**
 * The sequences of a packed batch, for the host and the device: `count` times (begin, end, slot, whether it starts from
 * the slot's state), then the sequence of each row, then `chunks` times (begin, end, sequence, 0) of at most {@link
 * CHUNK} tokens, then each sequence's first chunk and how many it has, then the position of each sequence's first token,
 * where that is known.
 */
export interface SequenceTable {
  readonly count: number;
  readonly rows: number;
  readonly chunks: number;
  /** Index of the first chunk in the table. */
  readonly chunks0: number;
  /** Index in the table of the first sequence's range of chunks. */
  readonly ranges0: number;
  /** Index in the table of the first sequence's position. */
  readonly positions0: number;
  /** Tokens of the longest sequence. */
  readonly longest: number;
  readonly table: GpuIndices;
}

interface LastTable {
  readonly key: readonly (Tensor | undefined)[];
  readonly positions: Tensor | undefined;
  readonly made: SequenceTable;
}

/** The sequence table that was made last in a scope. */
export class LastSequences {
  readonly #isInScope: () => boolean;
  #last: LastTable | undefined;

  constructor(isInScope: () => boolean) {
    this.#isInScope = isInScope;
  }

  /**
   * The table for these tensors. In a scope they do not change, and what was made for them is there until its end.
   * @param positions absent: the table may have some.
   */
  get(key: readonly (Tensor | undefined)[], positions: Tensor | undefined, make: () => SequenceTable): SequenceTable {
    const last = this.#last;
    const isLast =
      last?.key.every((tensor, i) => tensor === key[i]) &&
      (positions === undefined || positions === last.positions) &&
      !last.made.table.storage.isGone;
    if (this.#isInScope() && last && isLast) return last.made;
    const made = make();
    this.#last = this.#isInScope() ? { key, positions, made } : undefined;
    return made;
  }
}

export function makeSequenceTable(
  starts: Int32Array,
  slots: Int32Array,
  hasInitialState: Int32Array | undefined,
  positions: Int32Array | undefined,
  makeIndices: (values: Int32Array) => GpuIndices,
): SequenceTable {
  const count = starts.length - 1;
  const rows = starts[count];
  const chunksOf = Array.from({ length: count }, (_, b) => Math.ceil((starts[b + 1] - starts[b]) / CHUNK));
  const chunks = chunksOf.reduce((sum, n) => sum + n, 0);
  const chunks0 = 4 * count + rows;
  const ranges0 = chunks0 + 4 * chunks;
  const positions0 = ranges0 + 2 * count;
  const table = new Int32Array(positions0 + (positions?.length ?? 0));
  if (positions) table.set(positions, positions0);
  let chunk = 0;
  let longest = 0;
  for (let b = 0; b < count; b++) {
    const [begin, end] = [starts[b], starts[b + 1]];
    longest = Math.max(longest, end - begin);
    table.set([begin, end, slots[b], hasInitialState?.[b] ? 1 : 0], 4 * b);
    table.fill(b, 4 * count + begin, 4 * count + end);
    table.set([chunk, chunksOf[b]], ranges0 + 2 * b);
    for (let t = begin; t < end; t += CHUNK) {
      table.set([t, Math.min(t + CHUNK, end), b, 0], chunks0 + 4 * chunk);
      chunk++;
    }
  }
  return { count, rows, chunks, chunks0, ranges0, positions0, longest, table: makeIndices(table) };
}
