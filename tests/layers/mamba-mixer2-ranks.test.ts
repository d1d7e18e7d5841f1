import { afterAll, describe, expect, test } from 'vitest';
import { few } from '../runs.ts';
import { mixerCase } from './mixer-case.ts';
import { describeMixerOnRanks, layerPool } from './mixer-on-ranks.ts';
import { seededTokens } from './mixer-rig.ts';

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
