import { describe, expect, test } from 'vitest';
import { mamba2StateRuns, mamba2StateShape, type StateRun } from '../../src/layers/mamba/mamba-state-shape.ts';
import {
  extraReplicasForShards,
  loadShard,
  shardedWeightLoader,
  stackedWeightLoader,
} from '../../src/layers/parameters/weight-loaders.ts';
import { elementCount } from '../../src/tensor/tensor.ts';

function take(whole: Float32Array, runs: readonly StateRun[], length: number): Float32Array {
  const shard = new Float32Array(length).fill(Number.NaN);
  for (const { shardOffset, wholeOffset, length: run } of runs) {
    shard.set(whole.subarray(wholeOffset, wholeOffset + run), shardOffset);
  }
  return shard;
}

describe.each([
  [1, 1],
  [1, 2],
  [1, 4],
  [2, 1],
  [2, 4],
  [4, 2],
  [6, 4],
  [3, 4],
])('the state of a mixer with %d groups on %d ranks', (nGroups, tpSize) => {
  const size = { intermediateSize: 12 * 3, nGroups, numHeads: 12, headDim: 3, stateSize: 5, convKernel: 4 };
  const whole = mamba2StateShape(size, 1);
  const shape = mamba2StateShape(size, tpSize);

  test('is divided as the weights that make it', () => {
    const fullGroups = nGroups + extraReplicasForShards(nGroups, tpSize);
    const group = { fullDim: fullGroups * 5, extra: (fullGroups - nGroups) * 5, blockSize: 5 };
    const conv = Float32Array.from({ length: elementCount(whole.conv) }, (_, i) => i);
    const ssm = Float32Array.from({ length: elementCount(whole.ssm) }, (_, i) => i);
    for (let rank = 0; rank < tpSize; rank++) {
      const runs = mamba2StateRuns(size, tpSize, rank);
      const channels = { fullDim: 36, extra: 0, blockSize: 1 };
      const byChannels = stackedWeightLoader([channels, group, group], tpSize, rank);
      expect(take(conv, runs.conv, elementCount(shape.conv))).toEqual(loadShard(byChannels, conv, whole.conv));
      expect(take(ssm, runs.ssm, elementCount(shape.ssm))).toEqual(
        loadShard(shardedWeightLoader(0, tpSize, rank), ssm, whole.ssm),
      );
    }
  });

  test('is whole again when all ranks give their parts', () => {
    for (const part of ['conv', 'ssm'] as const) {
      const covered = new Set<number>();
      for (let rank = 0; rank < tpSize; rank++) {
        for (const { wholeOffset, length } of mamba2StateRuns(size, tpSize, rank)[part]) {
          for (let i = 0; i < length; i++) covered.add(wholeOffset + i);
        }
      }
      expect(covered.size).toBe(elementCount(whole[part]));
    }
  });
});
