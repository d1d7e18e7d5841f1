import { serializeError } from '../../distributed/serialized-error.ts';
import { answerQuestion } from '../files/remote-files.ts';
import type { FilesMessage, FilesRequest } from './files-protocol.ts';
import { modelFolder, modelLock, removeModelFolder, storedModelsFolder } from './model-folder.ts';
import { OpfsFolder } from './storage-folder.ts';
import { StoredFiles } from './stored-files.ts';

/** Fetches and stores the files of one model, away from the page. It has the model's folder for itself. */
class FilesHost {
  readonly #closing = new AbortController();
  #files: Promise<StoredFiles | undefined> = Promise.resolve(undefined);

  receive(request: FilesRequest): void {
    switch (request.type) {
      case 'open':
        this.#files = this.#open(request);
        this.#files.then(
          (files) => files && post({ type: 'opened' }),
          () => post({ type: 'unavailable' }),
        );
        break;
      case 'question':
        this.#answer(request).catch((error: unknown) =>
          post({ type: 'failure', id: request.id, error: serializeError(error) }),
        );
        break;
      case 'close':
        this.#close()
          // What could not be opened needs no closing.
          .catch(() => {})
          .finally(() => post({ type: 'closed' }));
    }
  }

  /** Waits until no other tab loads the model. Undefined when this worker was closed before. */
  async #open({ location, options }: Extract<FilesRequest, { type: 'open' }>): Promise<StoredFiles | undefined> {
    const root = await storedModelsFolder({ create: true });
    const { signal } = this.#closing;
    const held = await holdLock(await modelLock(location), signal);
    if (!held) return undefined;
    const folder = new OpfsFolder(await modelFolder(root, location, { create: true }));
    const onProgress = (event: Extract<FilesMessage, { type: 'progress' }>['event']) =>
      post({ type: 'progress', event });
    return StoredFiles.open(location, folder, () => navigator.storage.estimate(), { ...options, onProgress });
  }

  async #answer({ id, question }: Extract<FilesRequest, { type: 'question' }>): Promise<void> {
    const files = await this.#files;
    if (files === undefined) return;
    const answer = await answerQuestion(files, question);
    post({ type: 'answer', id, answer }, answer instanceof Uint8Array ? [answer.buffer] : []);
  }

  async #close(): Promise<void> {
    this.#closing.abort();
    const files = await this.#files;
    await files?.close();
    if (files?.isEmpty) await removeModelFolder(files.location);
  }
}

function post(message: FilesMessage, transfer: ArrayBuffer[] = []): void {
  globalThis.postMessage(message, { transfer });
}

/** Holds a lock as long as the worker lives. → whether it was granted before the signal was aborted */
function holdLock(name: string, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const granted = () => {
      resolve(true);
      return new Promise<never>(() => {});
    };
    navigator.locks
      .request(name, { signal }, granted)
      .catch((error) => (signal.aborted ? resolve(false) : reject(error)));
  });
}

const host = new FilesHost();
globalThis.addEventListener('message', ({ data }: MessageEvent<FilesRequest>) => host.receive(data));
