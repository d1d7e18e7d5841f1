import { reviveError } from '../../distributed/serialized-error.ts';
import { startWebWorker } from '../../distributed/web-worker.ts';
import { missingScriptHint, type WorkerScripts } from '../../distributed/worker-scripts.ts';
import { DisposedError, RankFailedError } from '../../errors.ts';
import { withResolvers } from '../../util/with-resolvers.ts';
import type { ByteSource } from '../files/byte-source.ts';
import type { ModelFiles } from '../files/model-files.ts';
import { type FileAnswer, type FileQuestion, RemoteFiles } from '../files/remote-files.ts';
import type { UrlOptions } from '../files/url-files.ts';
import { modelUrl } from '../net/urls.ts';
import type { FilesMessage, FilesRequest } from './files-protocol.ts';

/** Options of reading a model that a browser stores. */
export interface StoredModelOptions extends UrlOptions {
  /** Places of the workers' scripts. */
  readonly workers?: WorkerScripts | undefined;
  /** Whether only stored files are read. */
  readonly localFilesOnly?: boolean | undefined;
}

/** A worker that has a few small things to write down should not need longer. */
const CLOSE_MILLISECONDS = 5000;

/** Whether this browser may store models: in workers, with locks, and for pages with https or of this machine only. */
export function canStoreModels(): boolean {
  return (
    typeof globalThis.navigator?.storage?.getDirectory === 'function' &&
    globalThis.navigator.locks !== undefined &&
    typeof Worker === 'function'
  );
}

/**
 * The files of a model at a URL, kept in the browser's private file system by a worker. Waits while another tab loads
 * the same model. Undefined where the browser turns out to store nothing, as in some private windows. An aborted signal
 * ends it with the signal's reason.
 */
export async function openStoredFiles(location: string, options: StoredModelOptions): Promise<ModelFiles | undefined> {
  options.signal?.throwIfAborted();
  // The browser may ask the user; loading does not wait for the answer.
  navigator.storage.persist?.().catch(() => {});
  const files = new StoredFilesThread(modelUrl(location), options);
  try {
    if (await files.opened()) return files;
  } catch (error) {
    await files.close();
    throw error;
  }
  await files.close();
  return undefined;
}

interface WaitingCall {
  readonly resolve: (answer: FileAnswer) => void;
  readonly reject: (reason: unknown) => void;
}

/** A page's side of the worker. */
class StoredFilesThread implements ModelFiles {
  readonly location: string;
  readonly #worker: Worker;
  readonly #files: RemoteFiles;
  readonly #options: StoredModelOptions;
  readonly #waiting = new Map<number, WaitingCall>();
  readonly #opened = withResolvers<boolean>();
  readonly #closed = withResolvers();
  readonly #onAbort = () => this.#end(this.#options.signal?.reason);
  #asked = 0;
  #ended: { readonly reason: unknown } | undefined;

  constructor(location: string, options: StoredModelOptions) {
    this.location = location;
    this.#options = options;
    this.#files = new RemoteFiles(location, (question) => this.#ask(question));
    const { worker, origin } = startWebWorker({
      kind: 'files',
      given: options.workers?.files,
      moduleUrl: import.meta.url,
      start: () => new Worker(new URL('./files-worker.js', import.meta.url), { type: 'module', name: 'mamba2 files' }),
    });
    this.#worker = worker;
    this.#worker.addEventListener('message', ({ data }: MessageEvent<FilesMessage>) => this.#receive(data));
    this.#worker.addEventListener('error', (event) => {
      // Pending questions get the error instead.
      event.preventDefault();
      const name = `The worker that stores '${location}'`;
      this.#end(
        event.message
          ? new RankFailedError(`${name} failed: ${event.message}.`, 'Load the model again.')
          : new RankFailedError(
              `${name} can't be started: its script can't be loaded from ${origin}.`,
              missingScriptHint('files'),
            ),
      );
      this.#closed.resolve();
    });
    options.signal?.addEventListener('abort', this.#onAbort);
    const { name, token, retryDelay, localFilesOnly } = options;
    this.#post({ type: 'open', location, options: { name, token, retryDelay, localFilesOnly } });
  }

  opened(): Promise<boolean> {
    return this.#opened.promise;
  }

  nameOf(file: string): string {
    return this.#files.nameOf(file);
  }

  async readText(file: string): Promise<string | undefined> {
    return this.#files.readText(file);
  }

  async open(file: string): Promise<ByteSource | undefined> {
    return this.#files.open(file);
  }

  async list(): Promise<readonly string[]> {
    return [];
  }

  async close(): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#end(new DisposedError(`'${this.location}' was closed.`, 'Open the checkpoint again.'));
    const timer = setTimeout(this.#closed.resolve, CLOSE_MILLISECONDS);
    await this.#closed.promise;
    clearTimeout(timer);
    this.#worker.terminate();
  }

  #ask(question: FileQuestion): Promise<FileAnswer> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(this.#ended.reason);
      const id = this.#asked++;
      this.#waiting.set(id, { resolve, reject });
      this.#post({ type: 'question', id, question });
    });
  }

  #receive(message: FilesMessage): void {
    switch (message.type) {
      case 'opened':
      case 'unavailable':
        this.#opened.resolve(message.type === 'opened');
        break;
      case 'answer':
        this.#take(message.id)?.resolve(message.answer);
        break;
      case 'failure':
        this.#take(message.id)?.reject(reviveError(message.error, `The worker that stores '${this.location}'`));
        break;
      case 'progress':
        if (!this.#ended) this.#options.onProgress?.(message.event);
        break;
      case 'closed':
        this.#closed.resolve();
    }
  }

  #take(id: number): WaitingCall | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    return waiting;
  }

  #end(reason: unknown): void {
    if (this.#ended) return;
    this.#ended = { reason };
    this.#post({ type: 'close' });
    this.#opened.reject(reason);
    // Nothing may await it any more.
    this.#opened.promise.catch(() => {});
    for (const { reject } of this.#waiting.values()) reject(reason);
    this.#waiting.clear();
  }

  #post(request: FilesRequest): void {
    this.#worker.postMessage(request);
  }
}
