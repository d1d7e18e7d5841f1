import { ShapeError, ShardingError } from '../errors.ts';
import { elementCount, formatShape } from '../tensor/tensor.ts';

/**
 * Takes what one rank needs out of a whole checkpoint tensor: (values, shape) → this rank's values. Row-major; pure.
 */
export type WeightLoader = (whole: Float32Array, shape: readonly number[]) => Float32Array;

/** Every rank holds the whole tensor. */
export const replicatedWeightLoader: WeightLoader = (whole) => whole;

/** Rank r holds the r-th of `tpSize` equal parts along `axis`. */
export function shardedWeightLoader(axis: number, tpSize: number, tpRank: number): WeightLoader {
  return (whole, shape) => {
    const extent = shape[axis];
    const part = divide(extent, tpSize, `Axis ${axis} of a tensor of shape ${formatShape(shape)}`);
    const inner = elementCount(shape.slice(axis + 1));
    const outer = elementCount(shape.slice(0, axis));
    const shard = new Float32Array(outer * part * inner);
    for (let o = 0; o < outer; o++) {
      const begin = (o * extent + tpRank * part) * inner;
      shard.set(whole.subarray(begin, begin + part * inner), o * part * inner);
    }
    return shard;
  };
}

/** Loads, then maps every value: `A = -exp(A_log)`. */
export function composedWeightLoader(loader: WeightLoader, map: (value: number) => number): WeightLoader {
  return (whole, shape) => loader(whole, shape).map(map);
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
 * Shards a tensor whose first axis stacks several parts (z, x, B, C, dt of the in-projection; x, B, C of the
 * convolution): each rank gets its piece of every part. Blocks of a part with `extra` rows are repeated
 * fullDim / (fullDim - extra) times each, so that every rank has the groups that its heads use.
 */
export function mambaV2ShardedWeightLoader(specs: readonly ShardSpec[], tpSize: number, tpRank: number): WeightLoader {
  return (whole, shape) => {
    const rows = specs.reduce((sum, spec) => sum + spec.fullDim - spec.extra, 0);
    if (rows !== shape[0]) {
      throw new ShapeError(`A fused tensor of shape ${formatShape(shape)} came for parts of ${rows} rows in total.`);
    }
    const inner = elementCount(shape.slice(1));
    const parts: Float32Array[] = [];
    let begin = 0;
    for (const { fullDim, extra, blockSize } of specs) {
      const shard = divide(fullDim, tpSize, 'A part of a fused tensor');
      const copies = divide(fullDim, fullDim - extra, 'A part with repeated groups');
      for (let row = tpRank * shard; row < (tpRank + 1) * shard; row++) {
        const block = Math.floor(row / blockSize);
        const source = begin + Math.floor(block / copies) * blockSize + (row % blockSize);
        parts.push(whole.subarray(source * inner, (source + 1) * inner));
      }
      begin += fullDim - extra;
    }
    const out = new Float32Array(parts.length * inner);
    for (const [row, part] of parts.entries()) out.set(part, row * inner);
    return out;
  };
}

/**
 * Groups to add so that ranks can share them: with lcm(nGroups, tpSize) groups every rank has a whole number, each
 * group serves the same number of heads, and no group's heads lie on two ranks.
 *
 * The seed knows tpSize | nGroups and nGroups = 1, and gives the same there; this covers every tpSize that divides the
 * heads, because nGroups and tpSize both divide the heads and so does their least common multiple.
 */
export function extraGroupsForHeadShards(nGroups: number, tpSize: number): number {
  return leastCommonMultiple(nGroups, tpSize) - nGroups;
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
