import { afterAll, describe, expect, test } from 'vitest';
import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import { singleProcess } from '../../src/distributed/process-group.ts';
import { ArgumentError, ShardingError } from '../../src/errors.ts';
import { Mixer2RMSNormGated } from '../../src/layers/mamba/mixer2-rms-norm-gated.ts';
import { LayerContext } from '../../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../../src/layers/parameters/parameter.ts';
import { RankPool } from '../distributed/run-ranks.ts';
import { type GatedNormInput, gatedNormData, runGatedNorm } from './layers-on-ranks.ts';
import { seededWeights } from './mixer-case.ts';
import { gatedNormOracle } from './mixer-oracle.ts';
import { largestError, sideBySide } from './seeded.ts';

const pool = new RankPool<typeof import('./layers-on-ranks.ts')>(new URL('./layers-on-ranks.ts', import.meta.url));
afterAll(() => pool.close());

function oracle(input: GatedNormInput): Float64Array {
  const { hiddenSize, nGroups, useRmsNorm, rows, seed } = input;
  const { x, gate } = gatedNormData(input);
  // Loaded by itself the norm's weight has no prefix.
  const weight = useRmsNorm ? seededWeights([['weight', [hiddenSize]]], seed).weight : undefined;
  const out = new Float64Array(x.length);
  for (let t = 0; t < rows; t++) {
    const row = (values: Float32Array) => values.subarray(t * hiddenSize, (t + 1) * hiddenSize);
    out.set(gatedNormOracle(row(x), row(gate), nGroups, weight), t * hiddenSize);
  }
  return out;
}

async function onRanks(ranks: number, input: GatedNormInput): Promise<Float32Array> {
  return sideBySide(await pool.run('runGatedNorm', ranks, input), input.rows);
}

describe('Mixer2RMSNormGated', () => {
  test.each([1, 2, 3, 4, 6, 12, 24])(
    '%i groups of 24 columns on one rank equal the float64 oracle',
    async (nGroups) => {
      const input = { hiddenSize: 24, nGroups, useRmsNorm: true, rows: 9, seed: nGroups };
      expect(largestError(await runGatedNorm(singleProcess, input), oracle(input))).toBeLessThan(1e-5);
    },
  );

  test('without a norm only gates, and owns no weight', async () => {
    const input = { hiddenSize: 24, nGroups: 3, useRmsNorm: false, rows: 4, seed: 3 };
    for (const ranks of [1, 2, 4]) expect(largestError(await onRanks(ranks, input), oracle(input))).toBeLessThan(1e-6);
    const context = new LayerContext(new ReferenceBackend(), singleProcess, 'float32');
    expect(new ParameterTable(new Mixer2RMSNormGated(context, 24, 3, false)).names()).toEqual([]);
  });

  // Whole groups per rank, one group over all ranks, and groups that straddle ranks.
  test.each([2, 3, 4, 6, 8])('%i ranks equal one rank for every number of groups', async (ranks) => {
    for (const nGroups of [1, 2, 3, 4, 6, 8, 12, 24]) {
      const input = { hiddenSize: 24, nGroups, useRmsNorm: true, rows: 5, seed: 10 * ranks + nGroups };
      const single = await runGatedNorm(singleProcess, input);
      expect(largestError(await onRanks(ranks, input), single), `${nGroups} groups`).toBeLessThan(1e-6);
    }
  });

  // The cases of vLLM's test of this layer, two ranks against one.
  test.each([
    [64, 1],
    [64, 2],
    [64, 4],
    [100, 5],
  ])('%i columns in %i groups on two ranks', async (hiddenSize, nGroups) => {
    const input = { hiddenSize, nGroups, useRmsNorm: true, rows: 8 * 128, seed: 0 };
    const [single, double] = [await runGatedNorm(singleProcess, input), await onRanks(2, input)];
    const error = double.reduce((largest, value, i) => Math.max(largest, Math.abs(value - single[i])), 0);
    expect(error).toBeLessThan(1e-5);
    expect(largestError(double, oracle(input))).toBeLessThan(1e-5);
  });

  test('takes no rows, and a row of zeros', async () => {
    const empty = { hiddenSize: 8, nGroups: 2, useRmsNorm: true, rows: 0, seed: 1 };
    for (const ranks of [1, 4]) expect(await onRanks(ranks, empty)).toHaveLength(0);
    const backend = new ReferenceBackend();
    const norm = new Mixer2RMSNormGated(new LayerContext(backend, singleProcess, 'float32'), 8, 2);
    new ParameterTable(norm).load('weight', new Float32Array(8).fill(1));
    expect(await backend.read(norm.forward(backend.zeros([1, 8]), backend.zeros([1, 8])))).toEqual(new Float32Array(8));
  });

  test('refuses groups that do not divide the columns, and ranks that do not', () => {
    const context = (size: number) => new LayerContext(new ReferenceBackend(), { ...singleProcess, size }, 'float32');
    expect(() => new Mixer2RMSNormGated(context(1), 64, 3)).toThrow(ArgumentError);
    expect(() => new Mixer2RMSNormGated(context(3), 64, 1)).toThrow(ShardingError);
  });
});
