import { afterAll, describe, expect, test, vi } from 'vitest';
import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import { type ProcessGroup, singleProcess } from '../../src/distributed/process-group.ts';
import { buildMamba2Metadata } from '../../src/layers/mamba/mamba2-metadata.ts';
import { Plamo2Mixer } from '../../src/layers/mamba/plamo2-mixer.ts';
import { LayerContext } from '../../src/layers/parameters/layer-context.ts';
import { few } from '../runs.ts';
import { runMixers } from './layers-on-ranks.ts';
import { mixerCase } from './mixer-case.ts';
import { describeMixerOnRanks, layerPool } from './mixer-on-ranks.ts';
import { loadSeeded, seededTokens } from './mixer-rig.ts';
import { firstDifference, sideBySide } from './seeded.ts';

describeMixerOnRanks(few([2, 3, 1], 2));

describe('MambaMixer2 on ranks that fail', () => {
  const pool = layerPool();
  afterAll(() => pool.close());

  test('a rank that gets a broken batch releases the others, and its error arrives', async () => {
    const config = mixerCase();
    const broken = { sequences: [{ slot: 99, numComputedTokens: 0, tokens: seededTokens(config, 2, 1) }] };
    await expect(pool.run('runMixers', 2, [{ config, slots: 1, steps: [broken] }])).rejects.toThrow('slot 99');
  });
});

describe('states that are rounded stochastically, on ranks', () => {
  const pool = layerPool();
  afterAll(() => pool.close());

  test.each(['float16', 'bfloat16'] as const)('in %s are the bits of one rank', async (stateDType) => {
    const config = mixerCase({ numHeads: 8, nGroups: 2 });
    const sequence = (numComputedTokens: number, count: number) => ({
      sequences: [{ slot: 0, numComputedTokens, tokens: seededTokens(config, count, 1 + numComputedTokens) }],
    });
    const runs = [{ config, slots: 1, steps: [sequence(0, 9), sequence(9, 1)], stateDType }];
    const [{ ssm }] = await runMixers(singleProcess, runs);
    for (const ranks of [2, 4]) {
      const own = (await pool.run('runMixers', ranks, runs)).map(([run]) => run.ssm);
      expect(firstDifference(sideBySide(own, 1), ssm), `${ranks} ranks`).toBe(-1);
    }
  });

  test('of PLaMo 2 begin with the rows of the ranks before', () => {
    // The sums over ranks that its steps are made of round differently with their number, so states have other bits.
    const group: ProcessGroup = { ...singleProcess, size: 2, rank: 1, allReduce: () => undefined };
    const backend = new ReferenceBackend();
    const [scan, update] = [vi.spyOn(backend, 'mambaChunkScan'), vi.spyOn(backend, 'selectiveStateUpdate')];
    const sizes = { hiddenSize: 6, numHeads: 4, headDim: 3, ssmStateSize: 5, convKernelSize: 4, timeStepRank: 4 };
    const mixer = new Plamo2Mixer(new LayerContext(backend, group, 'float32'), {
      ...sizes,
      rmsNormEps: 1e-5,
      prefix: 'mixer',
    });
    loadSeeded(mixer, 3);
    const { conv, ssm } = mixer.getStateShape();
    const cache = { convState: backend.zeros([2, ...conv]), ssmState: backend.zeros([2, ...ssm], 'float16') };
    const decode = { slot: 0, numComputedTokens: 12, numTokens: 1 };
    const prompt = { slot: 1, numComputedTokens: 0, numTokens: 3 };
    const metadata = buildMamba2Metadata(backend, [decode, prompt], { chunkSize: 8, withPositions: true });
    mixer.forward(backend.zeros([4, 6]), cache, metadata);
    for (const spy of [scan, update]) expect(spy.mock.calls[0][0].rounding?.firstRow).toBe(6);
  });
});
