import { moduleFile } from '../../distributed/module-file.ts';
import { nodeWorkerOptions } from '../../distributed/node-worker-options.ts';
import { startWebWorker } from '../../distributed/web-worker.ts';
import { existingNodeScript, missingScriptHint, type WorkerScript } from '../../distributed/worker-scripts.ts';
import type { HeldMessage, HoldMessage } from './rank-port.ts';
import type { RankMessage, RankRequest } from './rank-protocol.ts';

/** A thread that runs one rank: a worker thread of Node, or a Web Worker. */
export interface RankThread {
  post(request: RankRequest, transfer?: readonly ArrayBuffer[]): void;
  /** Ends the thread immediately, whatever it is doing. */
  terminate(): Promise<void>;
}

export interface RankThreadEvents {
  readonly onMessage: (message: RankMessage) => void;
  /** Called when the thread is gone or can no longer be relied on. `problem` completes a sentence: 'Rank 0 …'. */
  readonly onEnd: (problem: string, cause?: unknown, hint?: string) => void;
}

/** Whether threads can share memory: in Node always, in browsers only where the page is cross-origin isolated. */
export function canShareMemory(): boolean {
  return globalThis.crossOriginIsolated ?? typeof SharedArrayBuffer !== 'undefined';
}

/** Whether this is a page's own thread, where a computation would keep the page from answering its user. */
export function isPage(): boolean {
  return globalThis.document !== undefined && typeof Worker === 'function';
}

/**
 * Starts a thread with the script of ranks.
 * @param script where it is, if it is not where it should be.
 * @throws RankFailedError where there is no such script.
 */
export function startRankThread(rank: number, events: RankThreadEvents, script?: WorkerScript): RankThread {
  const node = globalThis.process?.getBuiltinModule?.('node:worker_threads');
  return node === undefined ? startPageWorker(events, script) : startWorkerThread(node, rank, events, script);
}

function startWorkerThread(
  { Worker }: typeof import('node:worker_threads'),
  rank: number,
  { onMessage, onEnd }: RankThreadEvents,
  script: WorkerScript | undefined,
): RankThread {
  const url = existingNodeScript('rank', script, () => moduleFile('./rank-worker', import.meta.url));
  const worker = new Worker(url, { ...nodeWorkerOptions(), name: `mamba2 rank ${rank}` });
  worker.on('message', onMessage);
  worker.on('messageerror', (error) => onEnd(`sent what can't be read: ${error.message}`, error));
  worker.on('error', (error) => onEnd(`failed: ${error.message}`, error));
  worker.on('exit', (code) => onEnd(`exited with code ${code}`));
  return {
    post: (request, transfer = []) => worker.postMessage(request, transfer),
    terminate: async () => void (await worker.terminate()),
  };
}

function startPageWorker({ onMessage, onEnd }: RankThreadEvents, script: WorkerScript | undefined): RankThread {
  const { worker, origin } = startWebWorker({
    kind: 'rank',
    given: script,
    moduleUrl: import.meta.url,
    start: () => new Worker(new URL('./rank-worker.js', import.meta.url), { type: 'module', name: 'mamba2 rank' }),
  });
  const watching = new AbortController();
  worker.addEventListener('message', ({ data }: MessageEvent<RankMessage | HeldMessage>) => {
    if (!('held' in data)) return onMessage(data);
    // The lock is granted when the worker is gone: nothing else tells that the browser has ended it.
    navigator.locks.request(data.held, { signal: watching.signal }, () => onEnd('was ended')).catch(() => {});
  });
  worker.addEventListener('messageerror', () => onEnd("sent what can't be read"));
  worker.addEventListener('error', (event) => {
    // Reported by the executor.
    event.preventDefault();
    if (event.message) return onEnd(`failed: ${event.message}`, event.error);
    // If the script can't be loaded, the event says nothing.
    onEnd(`can't be started: its script can't be loaded from ${origin}`, undefined, missingScriptHint('rank'));
  });
  // Browsers without locks, and pages without https, have to do without.
  if (navigator.locks !== undefined) {
    const hold: HoldMessage = { hold: `mamba2 rank ${crypto.randomUUID()}` };
    worker.postMessage(hold);
  }
  return {
    post: (request, transfer = []) => worker.postMessage(request, [...transfer]),
    terminate: async () => {
      watching.abort();
      worker.terminate();
    },
  };
}
