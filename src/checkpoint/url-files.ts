import { DisposedError, DownloadError } from '../errors.ts';
import type { ByteSource } from './byte-source.ts';
import type { ModelFiles } from './model-files.ts';
import type { ProgressCallback } from './progress.ts';
import { UrlClient, type UrlClientOptions } from './url-client.ts';
import { type OnBytes, openUrl } from './url-source.ts';

/** How a model at a URL is read. */
export interface UrlOptions extends UrlClientOptions {
  /** What progress events call the model; its URL when absent. */
  readonly name?: string | undefined;
  readonly onProgress?: ProgressCallback | undefined;
}

/** A model in a folder of a static host, or of the hub. */
export class UrlFiles implements ModelFiles {
  readonly location: string;
  readonly #client: UrlClient;
  readonly #name: string;
  readonly #onProgress: ProgressCallback | undefined;
  /** Small files are asked for by tokenizer, template and every rank. */
  readonly #texts = new Map<string, Promise<string | undefined>>();
  readonly #sources = new Map<string, Promise<ByteSource | undefined>>();
  #closed = false;

  /** @param location http(s) URL of the folder; a query is sent with every file. */
  constructor(location: string, options: UrlOptions = {}) {
    const url = new URL(location);
    if (!url.pathname.endsWith('/')) url.pathname += '/';
    this.location = url.href;
    this.#client = new UrlClient(options);
    this.#name = options.name ?? this.location;
    this.#onProgress = options.onProgress;
  }

  nameOf(file: string): string {
    const folder = new URL(this.location);
    const url = new URL(encodeURIComponent(file), folder);
    url.search = folder.search;
    return url.href;
  }

  async readText(file: string): Promise<string | undefined> {
    return this.#once(this.#texts, file, () => this.#fetchText(file));
  }

  async open(file: string): Promise<ByteSource | undefined> {
    return this.#once(this.#sources, file, async () =>
      openUrl(this.#client, this.nameOf(file), this.#progressOf(file)),
    );
  }

  async list(): Promise<readonly string[]> {
    return [];
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#texts.clear();
    for (const source of this.#sources.values()) await (await source.catch(() => undefined))?.close();
    this.#sources.clear();
  }

  async #once<T>(results: Map<string, Promise<T>>, file: string, make: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new DisposedError(`'${this.location}' was closed.`, 'Open the checkpoint again.');
    const result = results.get(file) ?? make();
    results.set(file, result);
    // A failure must not stay: the next try may succeed.
    return result.catch((error: unknown) => {
      results.delete(file);
      throw error;
    });
  }

  async #fetchText(file: string): Promise<string | undefined> {
    const url = this.nameOf(file);
    const onBytes = this.#progressOf(file);
    return this.#client.retry(url, async () => {
      const response = await this.#client.get(url);
      if (response === undefined) return undefined;
      const bytes = await response.arrayBuffer();
      onBytes(bytes.byteLength, bytes.byteLength);
      try {
        return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
      } catch (cause) {
        throw new DownloadError(`'${url}' is not UTF-8 text.`, 'Check the address.', { cause });
      }
    });
  }

  /** Reports one file's way from `initiate` to `done`. */
  #progressOf(file: string): OnBytes {
    const event = { name: this.#name, file };
    const report = this.#onProgress;
    let reported = 0;
    return (loaded, total) => {
      if (reported === 0) {
        report?.({ status: 'initiate', ...event });
        report?.({ status: 'download', ...event });
      }
      // Streams may start again, and a callback per network chunk would be some hundred thousand for a large model.
      if (loaded <= reported || (loaded < total && reported > 0 && loaded - reported < total / 1000)) return;
      reported = loaded;
      const progress = (100 * loaded) / total;
      report?.({ status: loaded === total ? 'done' : 'progress', ...event, loaded, total, progress });
    };
  }
}
