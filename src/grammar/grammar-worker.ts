import type { MessagePort } from 'node:worker_threads';
import type { GrammarMessage, GrammarRequest } from './grammar-protocol.ts';
import { GrammarWork } from './grammar-work.ts';

/** The script of a worker that compiles grammars and follows answers: in Node a worker thread, in browsers a Web Worker. */
const port: MessagePort | undefined = globalThis.process?.getBuiltinModule?.('node:worker_threads').workerData;

if (port) {
  const work = new GrammarWork((message: GrammarMessage, transfer = []) => port.postMessage(message, transfer));
  port.on('message', (request: GrammarRequest) => work.receive(request));
} else {
  const scope = globalThis as unknown as Worker;
  const work = new GrammarWork((message: GrammarMessage, transfer = []) => scope.postMessage(message, transfer));
  scope.addEventListener('message', ({ data }: MessageEvent<GrammarRequest>) => work.receive(data));
}
