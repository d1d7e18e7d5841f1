import { MissingTensorError, ModelNotFoundError } from '../errors.ts';
import { closestNames } from './closest-names.ts';
import { CONFIG_FILE, GENERATION_CONFIG_FILE } from './files/file-names.ts';
import { type ModelFiles, readJsonFile } from './files/model-files.ts';
import type { ReadScratch } from './files/read-scratch.ts';
import type { RowRange } from './files/row-range.ts';
import type { StoredTensor } from './files/stored-tensor.ts';
import type { StoredWeights } from './files/stored-weights.ts';
import { GgufFiles, presentGguf } from './gguf/gguf-files.ts';
import type { JsonObject } from './json/json.ts';
import type { FileVersion } from './net/file-version.ts';
import { openModelFiles } from './open-model-files.ts';
import { type CheckpointQuantization, openQuantized } from './quantization/open-quantized.ts';
import { openSafetensors } from './safetensors/safetensors-weights.ts';

/** A tensor of the checkpoint and the file that holds it. */
export interface CheckpointTensor {
  /** Name of its type in the format of the file: BF16, F8_E4M3, Q4_K. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Name of the file inside the folder. */
  readonly file: string;
}

interface Contents {
  readonly config: JsonObject;
  readonly generationConfig: JsonObject | undefined;
  readonly weights: StoredWeights;
  readonly quantization: CheckpointQuantization | undefined;
}

/**
 * A model as Hugging Face lays it out, in a folder or at a URL: config.json and one or more safetensors files. A model in
 * GGUF is presented as such a one: its metadata as config, its tensors under their original names.
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
  /** The folder or the GGUF file: a path or a URL. */
  readonly folder: string;
  readonly files: ModelFiles;
  readonly config: JsonObject;
  readonly generationConfig: JsonObject | undefined;
  /** Bytes of all tensors as stored. */
  readonly totalBytes: number;
  /** Versions of the weight files that are fetched for every read; files on disk have none. */
  readonly versions: readonly FileVersion[];
  /** How a tool has quantised the weights, which are then read as the floats that they stand for. */
  readonly quantization: CheckpointQuantization | undefined;
  readonly #tensors: ReadonlyMap<string, StoredTensor>;

  private constructor(files: ModelFiles, contents: Contents) {
    this.folder = files.location;
    this.files = files;
    this.config = contents.config;
    this.generationConfig = contents.generationConfig;
    const { tensors, versions } = contents.weights;
    this.totalBytes = [...tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
    this.versions = versions;
    this.quantization = contents.quantization;
    this.#tensors = tensors;
  }

  /**
   * Reads the configs and the headers of all shards; no weights. `model` is a folder, a GGUF file, a URL of either, or
   * the files themselves, which then belong to the checkpoint. Rejects with ModelNotFoundError when there is no config or
   * no weights, with JsonFileError, SafetensorsError or GgufError when a file is malformed, with MissingTensorError when
   * a shard lacks a tensor that the index puts there, with UnsupportedArchitectureError when a GGUF file has an
   * architecture that is not known, and with DownloadError when a URL can't be read.
   */
  static async open(
    model: string | ModelFiles,
    options: { signal?: AbortSignal | undefined } = {},
  ): Promise<Checkpoint> {
    const files = typeof model === 'string' ? await openModelFiles(model, options) : presentGguf(model);
    try {
      return new Checkpoint(files, await readContents(files, options.signal));
    } catch (error) {
      await files.close();
      throw error;
    }
  }

  /** All tensor names, shard after shard in the order of the data. */
  names(): string[] {
    return [...this.#tensors.keys()];
  }

  /** Whether some file holds this tensor. */
  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** A tensor, to read from. Throws MissingTensorError on an unknown name. */
  tensor(name: string): StoredTensor {
    const tensor = this.#tensors.get(name);
    if (tensor !== undefined) return tensor;
    const similar = closestNames(name, this.#tensors.keys());
    throw new MissingTensorError(
      `The checkpoint '${this.folder}' has no tensor '${name}'.`,
      similar.length > 0 ? `Closest: ${similar.map((other) => `'${other}'`).join(', ')}.` : 'It has no tensors at all.',
    );
  }

  /** Throws MissingTensorError on an unknown name. */
  info(name: string): CheckpointTensor {
    const { dtype, shape, file } = this.tensor(name);
    return { dtype, shape, file };
  }

  /** A tensor, or rows of its first dimension, as float32. Errors are those of StoredTensor. */
  async readFloat32(name: string, range: RowRange = {}, scratch?: ReadScratch): Promise<Float32Array> {
    return this.tensor(name).readFloat32(range, scratch);
  }

  /** A tensor, or rows of its first dimension, as it is stored. Errors are those of StoredTensor. */
  async readBytes(name: string, range: RowRange = {}): Promise<Uint8Array<ArrayBuffer>> {
    return this.tensor(name).readBytes(range);
  }

  /** Closes the files. Reads reject with DisposedError afterwards; names and shapes stay. */
  async close(): Promise<void> {
    await this.files.close();
  }
}

async function readContents(files: ModelFiles, signal: AbortSignal | undefined): Promise<Contents> {
  signal?.throwIfAborted();
  const ggufWeights = files instanceof GgufFiles ? await files.weights(signal) : undefined;
  const config = await readJsonFile(files, CONFIG_FILE);
  if (config === undefined) {
    throw new ModelNotFoundError(
      `'${files.location}' holds no ${CONFIG_FILE}.`,
      'Give the folder of a Hugging Face checkpoint, or a GGUF file.',
    );
  }
  const generationConfig = await readJsonFile(files, GENERATION_CONFIG_FILE);
  if (ggufWeights !== undefined) return { config, generationConfig, weights: ggufWeights, quantization: undefined };
  return { generationConfig, ...(await openQuantized(files, config, await openSafetensors(files, signal))) };
}
