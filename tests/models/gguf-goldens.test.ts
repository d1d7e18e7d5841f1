import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { singleProcess } from '../../src/distributed/process-group.ts';
import { RankPool } from '../distributed/run-ranks.ts';
import { goldenOutputs } from '../engine/hybrid-folders.ts';
import { largestDifference } from '../numbers.ts';
import { isFullRun } from '../runs.ts';
import { ModelRig } from './model-rig.ts';
import { toGguf } from './to-gguf.ts';

const goldens = fileURLToPath(new URL('../goldens/gguf', import.meta.url));

/** What llama.cpp computed for a file, in float32 from the values that its blocks stand for. */
interface Golden {
  readonly vocab: number;
  readonly input_ids: number[];
  readonly greedy: number[];
  /** Positions whose logits are known. */
  readonly rows: number[];
}

describe("llama.cpp's logits and greedy tokens", () => {
  const pool = new RankPool<typeof import('./model-rig.ts')>(new URL('./model-rig.ts', import.meta.url));
  afterAll(() => pool.close());
  const names = readdirSync(goldens).flatMap((file) =>
    file.endsWith('.gguf') ? [file.slice(0, -'.gguf'.length)] : [],
  );
  const cases = names.flatMap((name) => [
    { name, device: 'reference' as const, ranks: 1 },
    { name, device: 'cpu' as const, ranks: 1 },
    { name, device: 'cpu' as const, ranks: 2 },
  ]);

  test.each(isFullRun ? cases : cases.filter((_, i) => i % 4 === 0))(
    '$name on $device, $ranks ranks',
    async ({ name, device, ranks }) => {
      const { vocab, input_ids, greedy, rows }: Golden = JSON.parse(await readFile(`${goldens}/${name}.json`, 'utf8'));
      const expected = new Float32Array((await readFile(`${goldens}/${name}.f32`)).slice().buffer);
      const model = { source: { folder: `${goldens}/${name}.gguf` }, device };
      const input = { model, tokenIds: input_ids, pieces: [7, 1, 1, 20], count: greedy.length };
      for (const result of await pool.run('runGolden', ranks, input)) {
        const known = Float32Array.from(
          rows.flatMap((row) => [...result.logits.slice(row * vocab, (row + 1) * vocab)]),
        );
        // Some 50 times what was found, and a fraction of what a wrong weight makes.
        expect(largestDifference(known, expected)).toBeLessThan(2e-4);
        expect(result.greedy).toEqual(greedy);
      }
    },
  );
});

describe('a model that was converted to GGUF', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mamba2-gguf-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const model = (name: string) => fileURLToPath(new URL(`../goldens/${name}`, import.meta.url));
  const convert = async (name: string) => {
    const file = join(folder, `${name.replaceAll('/', '-')}.gguf`);
    await writeFile(file, await toGguf(model(name)));
    return file;
  };
  const logits = async (source: string, ids: readonly number[]) =>
    (await ModelRig.load({ source: { folder: source }, device: 'reference' }, singleProcess)).prompt(ids);

  test.each([
    'mamba2',
    'granitemoehybrid',
    'bamba',
    'nemotron_h',
    'variants/nemotron-experts',
    'variants/nemotron-eight-groups',
  ])('%s: the logits that it has as safetensors', async (name) => {
    const { inputIds } = await goldenOutputs(model(name));
    const [own, original] = [await logits(await convert(name), inputIds), await logits(model(name), inputIds)];
    // Metadata have epsilons and factors in float32.
    expect(largestDifference(own, original)).toBeLessThan(2e-6);
  });

  test.each(['falcon_h1', 'variants/falcon-norm'])(
    "%s, whose factors are in its weights: transformers' logits",
    async (name) => {
      const golden = await goldenOutputs(model(name));
      expect(largestDifference(await logits(await convert(name), golden.inputIds), golden.logits)).toBeLessThan(4e-4);
    },
  );
});
