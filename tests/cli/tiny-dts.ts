import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { makeFolder } from '../checkpoint/folders.ts';

/** The bundled model. */
export const TINY_DTS = fileURLToPath(new URL('../../models/tiny-dts', import.meta.url));

export interface ExpectedCase {
  readonly prompt: string;
  readonly input_ids: readonly number[];
  readonly greedy: readonly number[];
}

/** What transformers computes for the bundled model. */
export async function expectedCases(): Promise<readonly [ExpectedCase, ...ExpectedCase[]]> {
  return JSON.parse(await readFile(`${TINY_DTS}/expected.json`, 'utf8')).cases;
}

/** A file of the bundled model. */
export function tinyFile(name: string): Promise<Buffer> {
  return readFile(`${TINY_DTS}/${name}`);
}

/** The bundled model in a folder of its own, with some files replaced or added. */
export async function changedTiny(files: Readonly<Record<string, unknown>>): Promise<string> {
  const names = [
    'config.json',
    'generation_config.json',
    'model.safetensors',
    'tokenizer.json',
    'tokenizer_config.json',
  ];
  const own = await Promise.all(names.map(async (name) => [name, await tinyFile(name)] as const));
  return makeFolder({ ...Object.fromEntries(own), ...files });
}
