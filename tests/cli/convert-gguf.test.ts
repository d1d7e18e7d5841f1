import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { Checkpoint } from '../../src/checkpoint/checkpoint.ts';
import { openModelFiles } from '../../src/checkpoint/open-model-files.ts';
import { convertModel } from '../../src/cli/conversion/convert-model.ts';
import { largestDifference } from '../numbers.ts';

test('a GGUF file becomes a folder with the names and the decays of Hugging Face', async () => {
  const gguf = fileURLToPath(new URL('../goldens/gguf/mamba2-groups-Q2_K.gguf', import.meta.url));
  const folder = await mkdtemp(join(tmpdir(), 'mamba2-convert-'));
  try {
    await convertModel(await openModelFiles(gguf), { dtype: 'bfloat16', out: join(folder, 'made') });
    const [made, original] = [await Checkpoint.open(join(folder, 'made')), await Checkpoint.open(gguf)];
    const name = 'backbone.layers.0.mixer.A';
    expect(made.names().filter((each) => !original.has(each))).toEqual(
      original.names().flatMap((each) => (each.endsWith('.A') ? [`${each}_log`] : [])),
    );
    const decays = (await made.readFloat32(`${name}_log`)).map((log) => -Math.exp(log));
    const values = await original.readFloat32(name);
    expect(largestDifference(decays, values)).toBeLessThan(4e-7 * Math.max(...values.map(Math.abs)));
    expect(made.config).toMatchObject({ model_type: 'mamba2', num_hidden_layers: 3 });
    await made.close();
    await original.close();
  } finally {
    await rm(folder, { recursive: true });
  }
});
