import { ShapeError, ShardingError } from '../../errors.ts';
import { elementCount, formatShape } from '../../tensor/tensor.ts';

/** Consecutive rows of a tensor's first axis. A tensor without axes has one row. */
export interface RowRun {
  readonly firstRow: number;
  readonly rows: number;
}

/**
 * The part of a checkpoint tensor that one rank holds. A loader names rows and cuts columns, so that a tensor can be
 * read a block of rows at a time, and rows that a rank does not hold are never read. Pure.
 */
export interface WeightLoader {
  /**
   * The rows that hold something of the rank's part, in its own order; some may come twice.
   * @param shape of the whole tensor.
   */
  rows(shape: readonly number[]): readonly RowRun[];
  /**
   * The rank's part of some of these rows.
   * @param rows whole ones, row-major. They may be overwritten, and the result may lie where they did.
   */
  part(rows: Float32Array, shape: readonly number[]): Float32Array;
  /** `part` of rows as a file holds them, a number of bytes for each value. Absent: rows are not cut. */
  partOfBytes?(rows: Uint8Array, shape: readonly number[]): Uint8Array;
}

/**
 * This rank's part of a whole tensor, as a copy. Row-major.
 *
 * @example
 * ```ts
 * const whole = new Float32Array([1, 2, 3, 4]);
 * const shard = loadShard(shardedWeightLoader(0, 2, 1), whole, [2, 2]); // 3, 4: the second of two ranks
 * ```
 */
export function loadShard(loader: WeightLoader, whole: Float32Array, shape: readonly number[]): Float32Array {
  const size = rowSize(shape);
  const parts = loader
    .rows(shape)
    .map(({ firstRow, rows }) => loader.part(whole.slice(firstRow * size, (firstRow + rows) * size), shape));
  const shard = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let filled = 0;
  for (const part of parts) {
    shard.set(part, filled);
    filled += part.length;
  }
  return shard;
}

/** Every rank holds the whole tensor. */
export const replicatedWeightLoader: WeightLoader = {
  rows: ([rows = 1]) => [{ firstRow: 0, rows }],
  part: (rows) => rows,
};

/**
 * Rank r holds the r-th of `tpSize` equal parts along `axis`.
 *
 * @example
 * ```ts
 * const rows = shardedWeightLoader(0, 2, 0); // the first half of the rows
 * const columns = shardedWeightLoader(1, 2, 0); // the first half of the columns
 * ```
 */
export function shardedWeightLoader(axis: number, tpSize: number, tpRank: number): WeightLoader {
  const shardExtent = (shape: readonly number[]) =>
    divide(shape[axis], tpSize, `Axis ${axis} of a tensor of shape ${formatShape(shape)}`);
  /** Moves the rank's part of the rows to their beginning. Returns its length. */
  const cut = (rows: Float32Array | Uint8Array, shape: readonly number[]) => {
    if (axis === 0) return rows.length;
    const inner = elementCount(shape.slice(axis + 1));
    const [whole, part] = [shape[axis] * inner, shardExtent(shape) * inner];
    const outer = rows.length / whole;
    for (let o = 0; o < outer; o++) {
      const begin = o * whole + tpRank * part;
      rows.copyWithin(o * part, begin, begin + part);
    }
    return outer * part;
  };
  return {
    rows: (shape) => {
      const extent = shardExtent(shape);
      return axis === 0 ? [{ firstRow: tpRank * extent, rows: extent }] : [{ firstRow: 0, rows: shape[0] }];
    },
    part: (rows, shape) => rows.subarray(0, cut(rows, shape)),
    partOfBytes: (rows, shape) => rows.subarray(0, cut(rows, shape)),
  };
}

/**
 * Loads, then maps every value: `A = -exp(A_log)`.
 *
 * @example
 * ```ts
 * const A = composedWeightLoader(shardedWeightLoader(0, 2, 0), (aLog) => -Math.exp(aLog));
 * ```
 */
export function composedWeightLoader(loader: WeightLoader, map: (value: number) => number): WeightLoader {
  return {
    rows: (shape) => loader.rows(shape),
    part: (rows, shape) => loader.part(rows, shape).map(map),
  };
}

/** One of the parts that are stacked along the first axis of a fused tensor. */
export interface ShardSpec {
  /** Rows over all ranks, replicated rows included. */
  readonly fullDim: number;
  /** Rows of `fullDim` that the checkpoint lacks, because they repeat others. */
  readonly extra: number;
  /** Rows that are repeated together: a group's state size. Matters only where `extra` is not 0. */
  readonly blockSize: number;
}

/**
 * Shards a tensor whose first axis stacks several parts (z, x, B, C, dt of a mixer's in-projection; gate and up of a
 * feed-forward layer): each rank gets its piece of every part. Blocks of a part with `extra` rows are repeated
 * fullDim / (fullDim - extra) times each, so that every rank has the groups or key-value heads that its heads use.
 *
 * @example
 * ```ts
 * // Gate and up, 1024 rows each, in one tensor: rank 0 of 2 takes the first 512 rows of either.
 * const part = { fullDim: 1024, extra: 0, blockSize: 1 };
 * const loader = mambaV2ShardedWeightLoader([part, part], 2, 0);
 * ```
 */
export function stackedWeightLoader(specs: readonly ShardSpec[], tpSize: number, tpRank: number): WeightLoader {
  return {
    rows: (shape) => {
      const total = specs.reduce((sum, spec) => sum + spec.fullDim - spec.extra, 0);
      if (total !== shape[0]) {
        throw new ShapeError(`A fused tensor of shape ${formatShape(shape)} came for parts of ${total} rows in total.`);
      }
      const sources: number[] = [];
      let begin = 0;
      for (const { fullDim, extra, blockSize } of specs) {
        const shard = divide(fullDim, tpSize, 'A part of a fused tensor');
        const copies = divide(fullDim, fullDim - extra, 'A part with repeated groups');
        for (let row = tpRank * shard; row < (tpRank + 1) * shard; row++) {
          const block = Math.floor(row / blockSize);
          sources.push(begin + Math.floor(block / copies) * blockSize + (row % blockSize));
        }
        begin += fullDim - extra;
      }
      return runsOf(sources);
    },
    part: (rows) => rows,
  };
}

/** A tensor whose first axis takes turns: a block of rows of every part, then the next block of every part. */
export interface AlternatingParts {
  readonly parts: number;
  /** Blocks of each part. */
  readonly blocks: number;
  /** Rows of a block. */
  readonly blockSize: number;
}

/**
 * Shards a tensor whose parts alternate: each rank gets its blocks of the first part, then those of the second.
 *
 * @example
 * ```ts
 * // Two heads, each a gate of 4 rows and 4 rows of x: rank 1 of 2 takes rows 8 to 15.
 * const loader = alternatingWeightLoader({ parts: 2, blocks: 2, blockSize: 4 }, 2, 1);
 * ```
 */
export function alternatingWeightLoader(
  { parts, blocks, blockSize }: AlternatingParts,
  tpSize: number,
  tpRank: number,
): WeightLoader {
  return {
    rows: (shape) => {
      const own = divide(blocks, tpSize, `A tensor of shape ${formatShape(shape)}`);
      const place = (part: number, i: number) => ((tpRank * own + i) * parts + part) * blockSize;
      return Array.from({ length: parts * own }, (_, i) => ({
        firstRow: place(Math.floor(i / own), i % own),
        rows: blockSize,
      }));
    },
    part: (rows) => rows,
  };
}

/** Rows as runs of consecutive ones. */
function runsOf(rows: readonly number[]): RowRun[] {
  const runs: { firstRow: number; rows: number }[] = [];
  for (const row of rows) {
    const last = runs.at(-1);
    if (last && last.firstRow + last.rows === row) last.rows++;
    else runs.push({ firstRow: row, rows: 1 });
  }
  return runs;
}

/**
 * Copies to add to what heads share (groups of a mixer, key-value heads of attention), so that ranks can divide the
 * heads: with lcm(units, tpSize) of them every rank has a whole number, each serves the same number of heads, and no
 * one's heads lie on two ranks.
 *
 * vLLM supports tpSize | units and units = 1, and gives the same there; this covers every tpSize that divides the
 * heads, because units and tpSize both divide the heads and so does their least common multiple.
 *
 * @example
 * ```ts
 * const extra = extraGroupsForHeadShards(2, 4); // 2: with four groups each of four ranks has one
 * ```
 */
export function extraReplicasForShards(units: number, tpSize: number): number {
  return leastCommonMultiple(units, tpSize) - units;
}

/** value / parts, which must be whole. */
export function divide(value: number, parts: number, what: string): number {
  if (value % parts !== 0) {
    throw new ShardingError(`${what} has ${value} rows, which ${parts} ranks can't share evenly.`, 'Use fewer ranks.');
  }
  return value / parts;
}

function leastCommonMultiple(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y !== 0) [x, y] = [y, x % y];
  return (a / x) * b;
}

/** Elements of one row. */
export function rowSize(shape: readonly number[]): number {
  return elementCount(shape.slice(1));
}
