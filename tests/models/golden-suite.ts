import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { openFile } from '../../src/checkpoint/files/file-source.ts';
import { SafetensorsFile } from '../../src/checkpoint/safetensors/safetensors.ts';
import { singleProcess } from '../../src/distributed/process-group.ts';
import { RankPool } from '../distributed/run-ranks.ts';
import { largestDifference } from '../numbers.ts';
import { ModelRig, type RigModel } from './model-rig.ts';

/** What transformers computed for a model, in float32. */
interface Golden {
  readonly input_ids: number[];
  readonly greedy: number[];
}

/** transformers' own two ways of computing a logit, all at once and step by step, differ by half of this. */
const TOLERANCE = 4e-4;

function folderOf(name: string): string {
  return fileURLToPath(new URL(`../goldens/${name}`, import.meta.url));
}

/** Variants of the golden models, as folders among them. */
export const VARIANTS = readdirSync(folderOf('variants'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => `variants/${name}`);

async function golden(folder: string): Promise<Golden & { logits: Float32Array }> {
  const source = await openFile(`${folder}/expected.safetensors`);
  try {
    const file = await SafetensorsFile.open(source);
    const expected = JSON.parse(await readFile(`${folder}/expected.json`, 'utf8')) as Golden;
    return { ...expected, logits: await file.readFloat32('logits') };
  } finally {
    await source.close();
  }
}

/** Tests that a golden model gives what transformers gives, on a device and numbers of ranks. */
export function describeGolden(name: string, device: 'reference' | 'cpu', numsOfRanks: readonly number[]): void {
  describe(`the golden ${name} on ${device}`, () => {
    const folder = folderOf(name);
    const pool = new RankPool<typeof import('./model-rig.ts')>(new URL('./model-rig.ts', import.meta.url));
    afterAll(() => pool.close());
    const model: RigModel = { source: { folder }, device };

    test.each(numsOfRanks)('%i ranks: logits and greedy tokens', async (ranks) => {
      const { input_ids, greedy, logits } = await golden(folder);
      const input = { model, tokenIds: input_ids, pieces: [7, 1, 1, 20], count: greedy.length };
      const results = await pool.run('runGolden', ranks, input);
      for (const result of results) {
        expect(largestDifference(result.logits, logits)).toBeLessThan(TOLERANCE);
        expect(result.greedy).toEqual(greedy);
      }
    });

    test('pieces and mixed batches give the same bits as the whole prompt', async () => {
      const { input_ids: ids } = await golden(folder);
      const rig = await ModelRig.load(model, singleProcess);
      const whole = await rig.prompt(ids);
      expect(await rig.prompt(ids, [1, 1, 13, 1, 30, 1], 1)).toEqual(whole);
      const cut = ids.length >> 1;
      const other = ids.toReversed();
      const alone = await rig.prompt(other, [], 3);
      const first = await rig.step([
        { slot: 0, numComputedTokens: 0, tokenIds: ids.slice(0, cut) },
        { slot: 2, numComputedTokens: 0, tokenIds: other.slice(0, 1) },
      ]);
      const second = await rig.step([
        { slot: 0, numComputedTokens: cut, tokenIds: ids.slice(cut, cut + 1) },
        { slot: 2, numComputedTokens: 1, tokenIds: other.slice(1) },
      ]);
      const third = await rig.step([{ slot: 0, numComputedTokens: cut + 1, tokenIds: ids.slice(cut + 1) }]);
      const join = (...parts: Float32Array[]) => Float32Array.from(parts.flatMap((part) => [...part]));
      expect(join(first[0], second[0], third[0])).toEqual(whole);
      expect(join(first[1], second[1])).toEqual(alone);
    });
  });
}
