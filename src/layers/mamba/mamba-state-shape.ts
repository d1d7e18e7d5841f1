import { shardOf } from '../../distributed/shard-group.ts';
import { divide, extraReplicasForShards } from '../parameters/weight-loaders.ts';

/** Sizes that decide a mixer's state. */
export interface MambaStateSize {
  readonly intermediateSize: number;
  /** The model's own, without those that sharding repeats; 0: B and C do not pass the convolution. */
  readonly nGroups: number;
  readonly numHeads: number;
  readonly headDim: number;
  readonly stateSize: number;
  readonly convKernel: number;
}

/** Shapes of one sequence's state on one rank. */
export interface MambaStateShape {
  /** (channels that are convolved, taps - 1) */
  readonly conv: readonly [number, number];
  /** (heads, head dim, state size) */
  readonly ssm: readonly [number, number, number];
}

/**
 * State of one sequence on one rank. Where the ranks do not divide the heads, fewer share them; see `shardOf`.
 *
 * @example
 * ```ts
 * const size = { intermediateSize: 512, nGroups: 1, numHeads: 8, headDim: 64, stateSize: 128, convKernel: 4 };
 * const { conv, ssm } = mamba2StateShape(size, 2); // [512, 3] and [4, 64, 128] on each of two ranks
 * ```
 */
export function mamba2StateShape(size: MambaStateSize, ranks: number): MambaStateShape {
  const tpSize = shardOf(size.numHeads, { size: ranks, rank: 0 }).size;
  const nGroups = size.nGroups + extraReplicasForShards(size.nGroups, tpSize);
  const convDim = size.intermediateSize + 2 * nGroups * size.stateSize;
  return {
    conv: [divide(convDim, tpSize, 'The conv state'), size.convKernel - 1],
    ssm: [divide(size.numHeads, tpSize, 'The SSM state'), size.headDim, size.stateSize],
  };
}

/** A run of a rank's values and where it lies in the whole, in elements. */
export interface StateRun {
  readonly shardOffset: number;
  readonly wholeOffset: number;
  readonly length: number;
}

/**
 * Parts of the whole state (that of one rank alone) that a rank holds. Groups that several ranks hold appear with each.
 * The convolution's channels are divided as its weights are, the heads in order.
 */
export function mamba2StateRuns(
  size: MambaStateSize,
  ranks: number,
  rank: number,
): { readonly conv: readonly StateRun[]; readonly ssm: readonly StateRun[] } {
  const { size: tpSize, rank: tpRank } = shardOf(size.numHeads, { size: ranks, rank });
  const taps = size.convKernel - 1;
  const copies = size.nGroups === 0 ? 1 : 1 + extraReplicasForShards(size.nGroups, tpSize) / size.nGroups;
  const groups = (size.nGroups * copies) / tpSize;
  const channels = size.intermediateSize / tpSize;
  const run = (shardRow: number, wholeRow: number, rows: number, columns: number): StateRun => ({
    shardOffset: shardRow * columns,
    wholeOffset: wholeRow * columns,
    length: rows * columns,
  });
  const conv = [run(0, tpRank * channels, channels, taps)];
  // B, then C.
  for (const part of [0, 1]) {
    for (let g = 0; g < groups; g++) {
      const own = Math.floor((tpRank * groups + g) / copies);
      const shardRow = channels + (part * groups + g) * size.stateSize;
      const wholeRow = size.intermediateSize + (part * size.nGroups + own) * size.stateSize;
      conv.push(run(shardRow, wholeRow, size.stateSize, taps));
    }
  }
  const heads = size.numHeads / tpSize;
  return { conv, ssm: [run(0, tpRank * heads, heads, size.headDim * size.stateSize)] };
}
