import type { ByteSource } from '../files/byte-source.ts';
import { CONFIG_FILE, GENERATION_CONFIG_FILE } from '../files/file-names.ts';
import type { ModelFiles, StoredTokenizer } from '../files/model-files.ts';
import type { StoredWeights } from '../files/stored-weights.ts';
import { fileNameOf, isGguf } from '../net/urls.ts';
import { describeGguf, type GgufCheckpoint } from './describe-gguf.ts';
import type { Gguf } from './gguf.ts';
import { openGguf } from './open-gguf.ts';

/**
 * A model in GGUF, presented as the files that Hugging Face would lay out: configs, tokenizer and chat templates are made
 * from the metadata. What else lies next to the file does not belong to it.
 */
export class GgufFiles implements ModelFiles {
  readonly #files: ModelFiles;
  #opened: Promise<{ readonly gguf: Gguf; readonly checkpoint: GgufCheckpoint }> | undefined;

  /** @param files of the folder that the GGUF file lies in; their location is the file. */
  constructor(files: ModelFiles) {
    this.#files = files;
  }

  get location(): string {
    return this.#files.location;
  }

  nameOf(file: string): string {
    return isGguf(file) ? this.#files.nameOf(file) : `${this.location}: ${file}`;
  }

  async readText(file: string): Promise<string | undefined> {
    const { checkpoint } = await this.#open();
    if (file === CONFIG_FILE) return JSON.stringify(checkpoint.config);
    if (file === GENERATION_CONFIG_FILE) return JSON.stringify(checkpoint.generationConfig);
    return checkpoint.texts.get(file)?.();
  }

  async open(file: string): Promise<ByteSource | undefined> {
    return isGguf(file) ? this.#files.open(file) : undefined;
  }

  async list(): Promise<readonly string[]> {
    const { checkpoint } = await this.#open();
    const parts = new Set([...checkpoint.tensors.values()].map(({ file }) => file));
    return [CONFIG_FILE, GENERATION_CONFIG_FILE, ...checkpoint.texts.keys(), ...parts];
  }

  async storedTokenizer(): Promise<StoredTokenizer | undefined> {
    return (await this.#open()).checkpoint.tokenizer();
  }

  /** The tensors, under the names of Hugging Face. Rejects with the errors of openGguf and describeGguf. */
  async weights(signal?: AbortSignal | undefined): Promise<StoredWeights> {
    const { gguf, checkpoint } = await this.#open(signal);
    return { tensors: checkpoint.tensors, versions: gguf.versions };
  }

  async close(): Promise<void> {
    this.#opened = undefined;
    await this.#files.close();
  }

  #open(signal?: AbortSignal | undefined) {
    this.#opened ??= openGguf(this.#files, fileNameOf(this.location), signal).then((gguf) => ({
      gguf,
      checkpoint: describeGguf(gguf),
    }));
    return this.#opened;
  }
}

/** The files themselves, or the model in GGUF that their location is. */
export function presentGguf(files: ModelFiles): ModelFiles {
  return isGguf(files.location) && !(files instanceof GgufFiles) ? new GgufFiles(files) : files;
}
