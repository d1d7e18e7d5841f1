import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { openFile } from '../../src/checkpoint/files/file-source.ts';
import { SafetensorsFile } from '../../src/checkpoint/safetensors/safetensors.ts';

/** Tiny random hybrids whose outputs transformers computed. */
export const HYBRIDS = ['bamba', 'granitemoehybrid', 'falcon_h1', 'nemotron_h', 'zamba2'];

export function hybridFolder(name: string): string {
  return fileURLToPath(new URL(`../goldens/${name}`, import.meta.url));
}

export interface GoldenOutputs {
  readonly inputIds: number[];
  readonly greedy: number[];
  /** (T, vocabSize) */
  readonly logits: Float32Array;
}

export async function goldenOutputs(folder: string): Promise<GoldenOutputs> {
  const { input_ids: inputIds, greedy } = JSON.parse(await readFile(`${folder}/expected.json`, 'utf8'));
  const source = await openFile(`${folder}/expected.safetensors`);
  try {
    const file = await SafetensorsFile.open(source);
    return { inputIds, greedy, logits: await file.readFloat32('logits') };
  } finally {
    await source.close();
  }
}
