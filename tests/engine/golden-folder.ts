import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { openFile } from '../../src/checkpoint/files/file-source.ts';
import { SafetensorsFile } from '../../src/checkpoint/safetensors/safetensors.ts';
import { type TensorToWrite, writeSafetensors } from '../../src/checkpoint/safetensors/safetensors-writer.ts';
import { makeFolder } from '../checkpoint/folders.ts';
import { byteFallbackJson } from '../text/tokenizers.ts';

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

/** Rows of the golden model with a tokenizer, which has a few less. */
const ROWS = 300;

/** The golden model with more rows and a small tokenizer, in which `<s>` is 0, `</s>` 1 and `<tool>` 2. */
export function goldenWithTokenizer(change: {
  readonly config?: Record<string, unknown>;
  readonly files?: Record<string, unknown>;
}): Promise<string> {
  return changedGolden({
    config: { ...change.config, vocab_size: ROWS },
    tensors: (tensors) => {
      const name = 'backbone.embeddings.weight';
      const { data = new Float32Array(), shape = [] } = tensors.get(name) ?? {};
      const rows = Float32Array.from({ length: ROWS * shape[1] }, (_, i) => data[i % data.length]);
      tensors.set(name, { shape: [ROWS, shape[1]], data: rows });
    },
    files: { 'tokenizer.json': byteFallbackJson, ...change.files },
  });
}
