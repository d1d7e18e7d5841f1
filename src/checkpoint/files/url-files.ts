import { DisposedError, DownloadError } from '../../errors.ts';
import type { ProgressCallback } from '../net/progress.ts';
import { fileProgress } from '../net/progress.ts';
import { UrlClient, type UrlClientOptions } from '../net/url-client.ts';
import { fileUrl, modelUrl } from '../net/urls.ts';
import type { ByteSource } from './byte-source.ts';
import type { ModelFiles } from './model-files.ts';
import { once } from './once.ts';
import { openUrl } from './url-source.ts';

/** Options of reading a model at a URL. */
export interface UrlOptions extends UrlClientOptions {
  /** Name of the model in progress events; its URL when absent. */
  readonly name?: string | undefined;
  readonly onProgress?: ProgressCallback | undefined;
  /** Names of all files, if they are known: a URL can't be listed. */
  readonly names?: readonly string[] | undefined;
}

/** A model in a folder of a static host, or of the hub. */
export class UrlFiles implements ModelFiles {
  readonly location: string;
  readonly #client: UrlClient;
  readonly #name: string;
  readonly #names: readonly string[];
  readonly #onProgress: ProgressCallback | undefined;
  /** Small files are asked for by tokenizer, template and every rank. */
  readonly #texts = new Map<string, Promise<string | undefined>>();
  readonly #sources = new Map<string, Promise<ByteSource | undefined>>();
  #closed = false;

  /** @param location http(s) URL of the folder, or of a GGUF file in it; a query is sent with every file. */
  constructor(location: string, options: UrlOptions = {}) {
    this.location = modelUrl(location);
    this.#client = new UrlClient(options);
    this.#name = options.name ?? this.location;
    this.#names = options.names ?? [];
    this.#onProgress = options.onProgress;
  }

  nameOf(file: string): string {
    return fileUrl(this.location, file);
  }

  async readText(file: string): Promise<string | undefined> {
    this.#assertOpen();
    return once(this.#texts, file, () => this.#fetchText(file));
  }

  async open(file: string): Promise<ByteSource | undefined> {
    this.#assertOpen();
    return once(this.#sources, file, async () =>
      openUrl(this.#client, this.nameOf(file), fileProgress(this.#name, file, this.#onProgress)),
    );
  }

  async list(): Promise<readonly string[]> {
    return this.#names;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#texts.clear();
    for (const source of this.#sources.values()) await (await source.catch(() => undefined))?.close();
    this.#sources.clear();
  }

  #assertOpen(): void {
    if (this.#closed) throw new DisposedError(`'${this.location}' was closed.`, 'Open the checkpoint again.');
  }

  async #fetchText(file: string): Promise<string | undefined> {
    const url = this.nameOf(file);
    const onBytes = fileProgress(this.#name, file, this.#onProgress);
    return this.#client.retry(url, async () => {
      const response = await this.#client.get(url);
      if (response === undefined) return undefined;
      const bytes = await response.arrayBuffer();
      onBytes(0, bytes.byteLength);
      onBytes(bytes.byteLength, bytes.byteLength);
      return decodeText(bytes, url);
    });
  }
}

/** @throws DownloadError when it is not UTF-8. */
export function decodeText(bytes: ArrayBuffer | Uint8Array<ArrayBuffer>, url: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new DownloadError(`'${url}' is not UTF-8 text.`, 'Check the address.', { cause });
  }
}
