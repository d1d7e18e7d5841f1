import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { openFile } from '../../src/checkpoint/file-source.ts';
import { SafetensorsFile } from '../../src/checkpoint/safetensors.ts';
import { type TensorToWrite, writeSafetensors } from '../../src/checkpoint/safetensors-writer.ts';
import { makeFolder } from '../checkpoint/folders.ts';

/** A tiny random Mamba2 whose outputs transformers computed. */
export const GOLDEN = fileURLToPath(new URL('../goldens/mamba2', import.meta.url));

export type GoldenTensors = Map<string, { shape: readonly number[]; data: Float32Array }>;

export async function goldenTensors(): Promise<GoldenTensors> {
  const source = await openFile(`${GOLDEN}/model.safetensors`);
  try {
    const file = await SafetensorsFile.open(source);
    const tensors: GoldenTensors = new Map();
    for (const [name, { shape }] of file.tensors) tensors.set(name, { shape, data: await file.readFloat32(name) });
    return tensors;
  } finally {
    await source.close();
  }
}

export async function goldenConfig(): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(`${GOLDEN}/config.json`, 'utf8'));
}

/** The golden model in a temporary folder, after changes to its config, tensors or files. */
export async function changedGolden(change: {
  /** Keys to set. */
  readonly config?: Record<string, unknown>;
  readonly tensors?: (tensors: GoldenTensors) => void;
  readonly files?: Record<string, unknown>;
}): Promise<string> {
  const config = { ...(await goldenConfig()), ...change.config };
  const tensors = await goldenTensors();
  change.tensors?.(tensors);
  const toWrite = [...tensors].map(([name, { shape, data }]): TensorToWrite => ({ name, dtype: 'F32', shape, data }));
  return makeFolder({ 'config.json': config, 'model.safetensors': writeSafetensors(toWrite), ...change.files });
}
