import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { JsonFileError, MissingTensorError, ModelNotFoundError } from '../errors.ts';
import { closestNames } from './closest-names.ts';
import { FilePool } from './file-pool.ts';
import { type JsonObject, readJsonObject } from './json.ts';
import { type ReadScratch, type RowRange, type SafetensorsDType, SafetensorsFile } from './safetensors.ts';
import { parseWeightMap } from './weight-map.ts';

/** A tensor of the checkpoint and the file that holds it. */
export interface CheckpointTensor {
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  /** Name of the file inside the folder. */
  readonly file: string;
}

interface Entry {
  readonly info: CheckpointTensor;
  readonly shard: SafetensorsFile;
}

interface Contents {
  readonly config: JsonObject;
  readonly generationConfig: JsonObject | undefined;
  readonly entries: ReadonlyMap<string, Entry>;
  readonly totalBytes: number;
}

const SINGLE_FILE = 'model.safetensors';
const INDEX_FILE = 'model.safetensors.index.json';

/** A model folder as Hugging Face lays it out: config.json and one or more safetensors files. */
export class Checkpoint {
  readonly folder: string;
  readonly config: JsonObject;
  readonly generationConfig: JsonObject | undefined;
  /** Bytes of all tensors as stored. */
  readonly totalBytes: number;
  readonly #entries: ReadonlyMap<string, Entry>;
  readonly #pool: FilePool;

  private constructor(folder: string, contents: Contents, pool: FilePool) {
    this.folder = folder;
    this.config = contents.config;
    this.generationConfig = contents.generationConfig;
    this.totalBytes = contents.totalBytes;
    this.#entries = contents.entries;
    this.#pool = pool;
  }

  /**
   * Reads the configs and the headers of all shards; no weights. Rejects with ModelNotFoundError when the folder holds
   * no config or no safetensors weights, with JsonFileError or SafetensorsError when a file is malformed, and with
   * MissingTensorError when a shard lacks a tensor that the index puts there.
   */
  static async open(folder: string, options: { signal?: AbortSignal | undefined } = {}): Promise<Checkpoint> {
    const pool = new FilePool();
    try {
      return new Checkpoint(folder, await readContents(folder, pool, options.signal), pool);
    } catch (error) {
      await pool.close();
      throw error;
    }
  }

  /** All tensor names, shard after shard in the order of the data. */
  names(): string[] {
    return [...this.#entries.keys()];
  }

  /** Whether some file holds this tensor. */
  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** Throws MissingTensorError on an unknown name. */
  info(name: string): CheckpointTensor {
    return this.#entry(name).info;
  }

  /** A tensor, or rows of its first dimension, as float32. Errors are those of SafetensorsFile.readFloat32. */
  async readFloat32(name: string, range: RowRange = {}, scratch?: ReadScratch): Promise<Float32Array> {
    return this.#entry(name).shard.readFloat32(name, range, scratch);
  }

  /** Closes the files. Reads reject with DisposedError afterwards; names and shapes stay. */
  async close(): Promise<void> {
    await this.#pool.close();
  }

  #entry(name: string): Entry {
    const entry = this.#entries.get(name);
    if (entry !== undefined) return entry;
    const similar = closestNames(name, this.#entries.keys());
    throw new MissingTensorError(
      `The checkpoint '${this.folder}' has no tensor '${name}'.`,
      similar.length > 0 ? `Closest: ${similar.map((other) => `'${other}'`).join(', ')}.` : 'It has no tensors at all.',
    );
  }
}

async function readContents(folder: string, pool: FilePool, signal: AbortSignal | undefined): Promise<Contents> {
  signal?.throwIfAborted();
  const config = await readJsonObject(join(folder, 'config.json'));
  if (config === undefined) {
    throw new ModelNotFoundError(`'${folder}' holds no config.json.`, 'Give the folder of a Hugging Face checkpoint.');
  }
  const generationConfig = await readJsonObject(join(folder, 'generation_config.json'));
  const { files, weightMap } = await findWeights(folder);
  const entries = new Map<string, Entry>();
  let totalBytes = 0;
  for (const file of files) {
    signal?.throwIfAborted();
    const shard = await SafetensorsFile.open(await pool.source(join(folder, file)));
    for (const [name, { dtype, shape, begin, end }] of shard.tensors) {
      const other = entries.get(name);
      if (other !== undefined) {
        throw new JsonFileError(
          `'${folder}': tensor '${name}' is in both '${other.info.file}' and '${file}'.`,
          'Shards of different exports were mixed; download or convert the model again.',
        );
      }
      entries.set(name, { info: { dtype, shape, file }, shard });
      totalBytes += end - begin;
    }
  }
  for (const [name, file] of weightMap) {
    const found = entries.get(name)?.info.file;
    if (found !== file) {
      throw new MissingTensorError(
        `'${folder}': ${INDEX_FILE} puts tensor '${name}' in '${file}', but it is in ${found ? `'${found}'` : 'no shard'}.`,
        'The shards do not belong to this index; download or convert the model again.',
      );
    }
  }
  return { config, generationConfig, entries, totalBytes };
}

async function findWeights(folder: string): Promise<{ files: string[]; weightMap: ReadonlyMap<string, string> }> {
  const present = await readdir(folder);
  if (present.includes(SINGLE_FILE)) return { files: [SINGLE_FILE], weightMap: new Map() };
  const index = await readJsonObject(join(folder, INDEX_FILE));
  if (index !== undefined) {
    const weightMap = parseWeightMap(index, join(folder, INDEX_FILE));
    const files = [...new Set(weightMap.values())].sort();
    const missing = files.filter((file) => !present.includes(file));
    if (missing.length > 0) {
      throw new ModelNotFoundError(
        `'${folder}' lacks ${missing.length} of ${files.length} shards: ${missing.slice(0, 3).join(', ')}.`,
        'Download the missing files; an interrupted download resumes.',
      );
    }
    return { files, weightMap };
  }
  const others = present.filter((file) => file.endsWith('.safetensors'));
  if (others.length === 1) return { files: others, weightMap: new Map() };
  if (others.length > 1) {
    throw new ModelNotFoundError(
      `'${folder}' holds ${others.length} safetensors files (${others.slice(0, 3).join(', ')}…) but no ${INDEX_FILE}.`,
      `Add the index, or rename the file to use to ${SINGLE_FILE}.`,
    );
  }
  if (present.some((file) => /^pytorch_model.*\.bin(\.index\.json)?$/.test(file))) {
    throw new ModelNotFoundError(
      `'${folder}' holds its weights as pytorch_model*.bin, a pickle that only Python can read safely.`,
      "Convert it to safetensors: model.save_pretrained(folder, safe_serialization=True) in Python's transformers.",
    );
  }
  throw new ModelNotFoundError(
    `'${folder}' holds no weights.`,
    `Expected ${SINGLE_FILE} or ${INDEX_FILE} with shards.`,
  );
}
