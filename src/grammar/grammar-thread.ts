import { moduleFile } from '../distributed/module-file.ts';
import { nodeWorkerOptions } from '../distributed/node-worker-options.ts';
import { startWebWorker } from '../distributed/web-worker.ts';
import { existingNodeScript, missingScriptHint, type WorkerScript } from '../distributed/worker-scripts.ts';
import type { GrammarMessage, GrammarRequest } from './grammar-protocol.ts';

/** A worker that compiles grammars: a worker thread of Node, or a Web Worker. */
export interface GrammarThread {
  post(request: GrammarRequest, transfer?: readonly ArrayBuffer[]): void;
  /** Receives at once what has come, where that is possible: otherwise the event loop brings it. */
  receive(): void;
  /** Whether the program waits for it: Node would end otherwise. */
  hold(isHeld: boolean): void;
  terminate(): void;
}

export interface GrammarThreadEvents {
  readonly onMessage: (message: GrammarMessage) => void;
  /** Called when it is gone. `problem` completes a sentence: 'The worker for grammars …'. */
  readonly onEnd: (problem: string, cause?: unknown) => void;
}

/** @throws RankFailedError where there is no such script. */
export function startGrammarThread(events: GrammarThreadEvents, script: WorkerScript | undefined): GrammarThread {
  const node = globalThis.process?.getBuiltinModule?.('node:worker_threads');
  return node === undefined ? startPageWorker(events, script) : startWorkerThread(node, events, script);
}

function startWorkerThread(
  { MessageChannel, receiveMessageOnPort, Worker }: typeof import('node:worker_threads'),
  { onMessage, onEnd }: GrammarThreadEvents,
  script: WorkerScript | undefined,
): GrammarThread {
  const url = existingNodeScript('grammar', script, () => moduleFile('./grammar-worker', import.meta.url));
  const { port1, port2 } = new MessageChannel();
  const options = { ...nodeWorkerOptions(), name: 'mamba2 grammar' };
  const worker = new Worker(url, { ...options, workerData: port2, transferList: [port2] });
  port1.on('message', onMessage);
  port1.on('messageerror', (error) => onEnd(`sent what can't be read: ${error.message}`, error));
  port1.unref();
  worker.on('error', (error) => onEnd(`failed: ${error instanceof Error ? error.message : error}`, error));
  worker.on('exit', (code) => onEnd(`exited with code ${code}`));
  worker.unref();
  return {
    post: (request, transfer = []) => port1.postMessage(request, [...transfer]),
    receive: () => {
      for (let next = receiveMessageOnPort(port1); next; next = receiveMessageOnPort(port1)) onMessage(next.message);
    },
    hold: (isHeld) => (isHeld ? worker.ref() : worker.unref()),
    terminate: () => {
      port1.close();
      void worker.terminate();
    },
  };
}

function startPageWorker({ onMessage, onEnd }: GrammarThreadEvents, script: WorkerScript | undefined): GrammarThread {
  const { worker, origin } = startWebWorker({
    kind: 'grammar',
    given: script,
    moduleUrl: import.meta.url,
    start: () =>
      new Worker(new URL('./grammar-worker.js', import.meta.url), { type: 'module', name: 'mamba2 grammar' }),
  });
  worker.addEventListener('message', ({ data }: MessageEvent<GrammarMessage>) => onMessage(data));
  worker.addEventListener('messageerror', () => onEnd("sent what can't be read"));
  worker.addEventListener('error', (event) => {
    event.preventDefault();
    if (event.message) return onEnd(`failed: ${event.message}`, event.error);
    onEnd(`can't be started: its script can't be loaded from ${origin}. ${missingScriptHint('grammar')}`);
  });
  return {
    post: (request, transfer = []) => worker.postMessage(request, [...transfer]),
    receive: () => {},
    hold: () => {},
    terminate: () => worker.terminate(),
  };
}

/**
 * Where an import map of the page says that the package is: such maps do not hold in workers. The map itself is read, since
 * webpack takes `import.meta.resolve` of a package that is not installed for an error.
 */
export function packageUrl(): string | undefined {
  for (const { textContent } of globalThis.document?.querySelectorAll('script[type="importmap"]') ?? []) {
    try {
      const map: { readonly imports?: Readonly<Record<string, unknown>> } = JSON.parse(textContent ?? '');
      const url = map.imports?.['@mlc-ai/web-xgrammar'];
      if (typeof url === 'string') return new URL(url, document.baseURI).href;
    } catch {
      // A map that the browser does not understand, either.
    }
  }
  return undefined;
}
