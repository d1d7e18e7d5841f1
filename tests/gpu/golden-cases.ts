import { readdirSync, readFileSync } from 'node:fs';
import { openFile } from '../../src/checkpoint/files/file-source.ts';
import { SafetensorsFile } from '../../src/checkpoint/safetensors/safetensors.ts';
import { LLM } from '../../src/engine/llm.ts';
import type { LoadOptions } from '../../src/engine/load/load-options.ts';
import type { Device } from '../../src/engine/ranks/devices.ts';
import { expect, test } from '../browser/suite/vitest-in-page.ts';

const ARCHITECTURES = ['mamba2', 'bamba', 'falcon_h1', 'granitemoehybrid', 'nemotron_h', 'zamba2'];

/**
 * Models of each architecture, whose logits and tokens transformers gave.
 * @param options with which they are loaded, besides the device.
 */
export function describeGoldens(goldens: string, device: Device, options: LoadOptions = {}): void {
  for (const name of ARCHITECTURES) {
    test(`golden ${name}`, async () => {
      const folder = `${goldens}/${name}`;
      const { input_ids, greedy } = JSON.parse(readFileSync(`${folder}/expected.json`, 'utf8')) as {
        readonly input_ids: number[];
        readonly greedy: number[];
      };
      const source = await openFile(`${folder}/expected.safetensors`);
      const expected = await (await SafetensorsFile.open(source)).readFloat32('logits');
      await source.close();
      const llm = await LLM.load(folder, { device, dtype: 'float32', ...options });
      try {
        const logits = await llm.logits(input_ids);
        const off = logits.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0);
        process.stdout.write(`golden ${name}: logits differ by ${off.toExponential(1)}\n`);
        if (!(off <= 5e-3)) throw new Error(`logits differ by ${off}`);
        const { tokenIds } = await llm.complete(input_ids, {
          temperature: 0,
          maxTokens: greedy.length,
          ignoreEos: true,
        });
        expect([...tokenIds]).toEqual(greedy);
      } finally {
        await llm.dispose();
      }
    });
  }
}

/**
 * What llama.cpp made of GGUF files, which stay in their blocks here.
 * @param most that logits may differ.
 */
export function describeGguf(goldens: string, device: Device, most: number): void {
  const folder = `${goldens}/gguf`;
  const files = readdirSync(folder).filter((file) => file.endsWith('.gguf'));
  for (const name of files.map((file) => file.slice(0, -'.gguf'.length))) {
    test(`golden ${name}`, async () => {
      const golden = JSON.parse(readFileSync(`${folder}/${name}.json`, 'utf8')) as {
        readonly vocab: number;
        readonly input_ids: number[];
        readonly rows: number[];
      };
      const { vocab, rows, input_ids } = golden;
      const expected = new Float32Array(Uint8Array.from(readFileSync(`${folder}/${name}.f32`)).buffer);
      const llm = await LLM.load(`${folder}/${name}.gguf`, { device });
      try {
        const logits = await llm.logits(input_ids);
        const known = rows.flatMap((row) => [...logits.slice(row * vocab, (row + 1) * vocab)]);
        const off = known.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0);
        process.stdout.write(`golden ${name}: logits differ by ${off.toExponential(1)}\n`);
        if (!(off <= most)) throw new Error(`logits differ by ${off}`);
      } finally {
        await llm.dispose();
      }
    });
  }
}
