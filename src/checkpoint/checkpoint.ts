import { JsonFileError, MissingTensorError, ModelNotFoundError } from '../errors.ts';
import { closestNames } from './closest-names.ts';
import type { ByteSource } from './files/byte-source.ts';
import { CONFIG_FILE, WEIGHTS_FILE, WEIGHTS_INDEX_FILE } from './files/file-names.ts';
import { type ModelFiles, readJsonFile } from './files/model-files.ts';
import type { JsonObject } from './json/json.ts';
import type { FileVersion } from './net/file-version.ts';
import { openModelFiles } from './open-model-files.ts';
import { type ReadScratch, type RowRange, type SafetensorsDType, SafetensorsFile } from './safetensors/safetensors.ts';
import { parseWeightMap } from './safetensors/weight-map.ts';

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
  readonly versions: readonly FileVersion[];
}

/**
 * A model as Hugging Face lays it out, in a folder or at a URL: config.json and one or more safetensors files.
 *
 * @example
 * ```ts
 * const checkpoint = await Checkpoint.open(await resolveModel('tiny-dts'));
 * for (const name of checkpoint.names()) console.log(name, checkpoint.info(name).shape);
 * const norm = await checkpoint.readFloat32('backbone.norm_f.weight');
 * await checkpoint.close();
 * ```
 */
export class Checkpoint {
  /** The folder, or its URL. */
  readonly folder: string;
  readonly files: ModelFiles;
  readonly config: JsonObject;
  readonly generationConfig: JsonObject | undefined;
  /** Bytes of all tensors as stored. */
  readonly totalBytes: number;
  /** Versions of the weight files that are fetched for every read; files on disk have none. */
  readonly versions: readonly FileVersion[];
  readonly #entries: ReadonlyMap<string, Entry>;

  private constructor(files: ModelFiles, contents: Contents) {
    this.folder = files.location;
    this.files = files;
    this.config = contents.config;
    this.generationConfig = contents.generationConfig;
    this.totalBytes = contents.totalBytes;
    this.versions = contents.versions;
    this.#entries = contents.entries;
  }

  /**
   * Reads the configs and the headers of all shards; no weights. `model` is a folder, a URL, or the files themselves,
   * which then belong to the checkpoint. Rejects with ModelNotFoundError when there is no config or no safetensors
   * weights, with JsonFileError or SafetensorsError when a file is malformed, with MissingTensorError when a shard
   * lacks a tensor that the index puts there, and with DownloadError when a URL can't be read.
   */
  static async open(
    model: string | ModelFiles,
    options: { signal?: AbortSignal | undefined } = {},
  ): Promise<Checkpoint> {
    const files = typeof model === 'string' ? await openModelFiles(model, options) : model;
    try {
      return new Checkpoint(files, await readContents(files, options.signal));
    } catch (error) {
      await files.close();
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

  /** A tensor, or rows of its first dimension, as it is stored. Errors are those of SafetensorsFile.readBytes. */
  async readBytes(name: string, range: RowRange = {}): Promise<Uint8Array<ArrayBuffer>> {
    return this.#entry(name).shard.readBytes(name, range);
  }

  /** Whether going back in the file of this tensor costs reading it from the start again. */
  isSequential(name: string): boolean {
    return this.#entry(name).shard.isSequential;
  }

  /** Closes the files. Reads reject with DisposedError afterwards; names and shapes stay. */
  async close(): Promise<void> {
    await this.files.close();
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

async function readContents(files: ModelFiles, signal: AbortSignal | undefined): Promise<Contents> {
  signal?.throwIfAborted();
  const config = await readJsonFile(files, CONFIG_FILE);
  if (config === undefined) {
    throw new ModelNotFoundError(
      `'${files.location}' holds no ${CONFIG_FILE}.`,
      'Give the folder of a Hugging Face checkpoint.',
    );
  }
  const generationConfig = await readJsonFile(files, 'generation_config.json');
  const { sources, weightMap } = await findWeights(files);
  const entries = new Map<string, Entry>();
  let totalBytes = 0;
  for (const [file, source] of sources) {
    signal?.throwIfAborted();
    const shard = await SafetensorsFile.open(source);
    for (const [name, { dtype, shape, begin, end }] of shard.tensors) {
      const other = entries.get(name);
      if (other !== undefined) {
        throw new JsonFileError(
          `'${files.location}': tensor '${name}' is in both '${other.info.file}' and '${file}'.`,
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
        `'${files.location}': ${WEIGHTS_INDEX_FILE} puts tensor '${name}' in '${file}', but it is in ${found ? `'${found}'` : 'no shard'}.`,
        'The shards do not belong to this index; download or convert the model again.',
      );
    }
  }
  const versions = [...sources.values()].flatMap(({ version }) => version ?? []);
  return { config, generationConfig, entries, totalBytes, versions };
}

/** The weight files to read, and what an index says about them. */
interface Weights {
  readonly sources: ReadonlyMap<string, ByteSource>;
  readonly weightMap: ReadonlyMap<string, string>;
}

async function findWeights(files: ModelFiles): Promise<Weights> {
  const single = await files.open(WEIGHTS_FILE);
  if (single !== undefined) return { sources: new Map([[WEIGHTS_FILE, single]]), weightMap: new Map() };
  const index = await readJsonFile(files, WEIGHTS_INDEX_FILE);
  if (index !== undefined) return openShards(files, parseWeightMap(index, files.nameOf(WEIGHTS_INDEX_FILE)));
  const present = await files.list();
  const others = present.filter((file) => file.endsWith('.safetensors'));
  const only = others.length === 1 ? await files.open(others[0]) : undefined;
  if (only !== undefined) return { sources: new Map([[others[0], only]]), weightMap: new Map() };
  if (others.length > 1) {
    throw new ModelNotFoundError(
      `'${files.location}' holds ${others.length} safetensors files (${others.slice(0, 3).join(', ')}…) but no ${WEIGHTS_INDEX_FILE}.`,
      `Add the index, or rename the file to use to ${WEIGHTS_FILE}.`,
    );
  }
  if (present.some((file) => /^pytorch_model.*\.bin(\.index\.json)?$/.test(file))) {
    throw new ModelNotFoundError(
      `'${files.location}' holds its weights as pytorch_model*.bin, a pickle that only Python can read safely.`,
      "Convert it to safetensors: model.save_pretrained(folder, safe_serialization=True) in Python's transformers.",
    );
  }
  throw new ModelNotFoundError(
    `'${files.location}' holds no weights.`,
    `Expected ${WEIGHTS_FILE} or ${WEIGHTS_INDEX_FILE} with shards.`,
  );
}

async function openShards(files: ModelFiles, weightMap: ReadonlyMap<string, string>): Promise<Weights> {
  const names = [...new Set(weightMap.values())].sort();
  const sources = new Map<string, ByteSource>();
  const missing: string[] = [];
  for (const name of names) {
    const source = await files.open(name);
    if (source === undefined) missing.push(name);
    else sources.set(name, source);
  }
  if (missing.length > 0) {
    throw new ModelNotFoundError(
      `'${files.location}' lacks ${missing.length} of ${names.length} shards: ${missing.slice(0, 3).join(', ')}.`,
      'Download the missing files; an interrupted download resumes.',
    );
  }
  return { sources, weightMap };
}
