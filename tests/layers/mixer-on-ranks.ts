import { afterAll, describe, expect, test } from 'vitest';
import { singleProcess } from '../../src/distributed/process-group.ts';
import { QUANT_BLOCK } from '../../src/tensor/quantize.ts';
import { RankPool } from '../distributed/run-ranks.ts';
import { type MixerRun, runMixers } from './layers-on-ranks.ts';
import { type MixerCase, mixerCase } from './mixer-case.ts';
import { type RigStep, seededTokens } from './mixer-rig.ts';
import { bits, largestError, sideBySide } from './seeded.ts';

type LayerPool = RankPool<typeof import('./layers-on-ranks.ts')>;

/** Threads that run layers as ranks. */
export function layerPool(): LayerPool {
  return new RankPool(new URL('./layers-on-ranks.ts', import.meta.url));
}

const SLOTS = 5;

/** Prefill, then a batch that mixes decodes, a continued prompt, new prompts and padding, then decodes only. */
function steps(config: MixerCase): RigStep[] {
  const part = (slot: number, numComputedTokens: number, count: number) => ({
    slot,
    numComputedTokens,
    tokens: seededTokens(config, count, 31 * slot + numComputedTokens + config.seed),
  });
  return [
    { sequences: [part(0, 0, 3), part(1, 0, 1), part(2, 0, 5)] },
    {
      sequences: [
        part(0, 3, 1),
        part(1, 1, 4),
        part(3, 0, 2),
        part(-1, 0, 2),
        part(2, 5, 1),
        part(-1, 1, 1),
        part(4, 0, 1),
      ],
      order: 'prefill-first',
    },
    { sequences: [part(0, 4, 1), part(1, 5, 1), part(2, 6, 1), part(3, 2, 1), part(4, 1, 1)] },
  ];
}

/** Every (heads, groups) that `ranks` ranks can share. */
function legalSizes(ranks: number): { numHeads: number; nGroups: number }[] {
  const all = Array.from({ length: 12 }, (_, i) => i + 1);
  return all
    .filter((numHeads) => numHeads % ranks === 0)
    .flatMap((numHeads) => all.filter((nGroups) => numHeads % nGroups === 0).map((nGroups) => ({ numHeads, nGroups })));
}

async function expectRanksToEqualOne(pool: LayerPool, ranks: number, configs: readonly MixerCase[]): Promise<void> {
  const runs = configs.map((config) => ({ config, slots: SLOTS, steps: steps(config) }));
  const single = await runMixers(singleProcess, runs);
  const onRanks = await pool.run('runMixers', ranks, runs);
  for (const [i, config] of configs.entries()) {
    const label = JSON.stringify({ ranks, ...config });
    const results = onRanks.map((rank) => rank[i]);
    expectSameRows(results, single[i], steps(config), label);
    const slots = sideBySide(
      results.map(({ ssm }) => ssm),
      SLOTS,
    );
    expect(largestError(slots, single[i].ssm), label).toBeLessThan(1e-5);
  }
}

function expectSameRows(ranks: readonly MixerRun[], single: MixerRun, batch: readonly RigStep[], label: string): void {
  batch.forEach(({ sequences }, step) => {
    sequences.forEach(({ slot }, b) => {
      if (slot === -1) return;
      const first = ranks[0].outputs[step][b];
      expect(largestError(first, single.outputs[step][b]), `step ${step}, sequence ${b} of ${label}`).toBeLessThan(
        1e-5,
      );
      for (const rank of ranks) expect(bits(rank.outputs[step][b]), label).toEqual(bits(first));
    });
  });
}

/** Tests that a mixer on so many ranks gives what one rank gives. */
export function describeMixerOnRanks(numsOfRanks: readonly number[]): void {
  describe.each(numsOfRanks)('MambaMixer2 on %i ranks', (ranks) => {
    const pool = layerPool();
    afterAll(() => pool.close());
    const sizes = legalSizes(ranks);

    test('every legal number of heads and groups, with biases', async () => {
      expect(sizes.length).toBeGreaterThan(0);
      await expectRanksToEqualOne(
        pool,
        ranks,
        sizes.map((size, seed) => mixerCase({ ...size, headDim: 4, seed })),
      );
    });

    test('every legal number of heads and groups, without norm and biases', async () => {
      const off = { useRmsNorm: false, useBias: false, useConvBias: false };
      await expectRanksToEqualOne(
        pool,
        ranks,
        sizes.map((size, seed) => mixerCase({ ...size, ...off, seed })),
      );
    });

    test('every legal number of heads and groups, with a mup vector', async () => {
      await expectRanksToEqualOne(
        pool,
        ranks,
        sizes.map((size, seed) => mixerCase({ ...size, headDim: 4, useMup: true, seed })),
      );
    });

    test('other taps, activations and time-step limits', async () => {
      const variants = sizes
        .slice(-3)
        .flatMap((size, i) => [
          mixerCase({ ...size, headDim: 4, convKernel: 1, activation: 'identity', seed: i }),
          mixerCase({ ...size, headDim: 4, convKernel: 2, timeStepLimit: [0.05, 0.5], seed: i }),
        ]);
      await expectRanksToEqualOne(pool, ranks, variants);
    });

    test.each(['int8', 'int4'] as const)('%s weights, where shards are whole blocks', async (quant) => {
      const whole = sizes.filter(({ numHeads }) => numHeads <= 8).slice(-4);
      const configs = whole.map((size, seed) =>
        mixerCase({ ...size, headDim: QUANT_BLOCK, hiddenSize: 40, quant, seed }),
      );
      await expectRanksToEqualOne(pool, ranks, configs);
    });
  });
}
