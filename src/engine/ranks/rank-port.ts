import type { RankMessage, RankRequest } from './rank-protocol.ts';

/** Request to a Web Worker to hold the lock of this name until it ends. */
export interface HoldMessage {
  readonly hold: string;
}

/** Answer of a Web Worker that holds the lock. */
export interface HeldMessage {
  readonly held: string;
}

/** A rank's way to the thread that started it. */
export interface RankPort {
  post(message: RankMessage, transfer?: readonly ArrayBuffer[]): void;
}

/** Signals that a terminal or a supervisor sends to all processes: the parent decides when a rank ends. */
const LEFT_TO_PARENT = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Inside a thread or process of a rank. Call it before anything is awaited: a Web Worker does not keep messages for later. */
export function openRankPort<Source>(receive: (request: RankRequest<Source>) => void): RankPort {
  const parentPort = globalThis.process?.getBuiltinModule?.('node:worker_threads').parentPort;
  if (parentPort) {
    parentPort.on('message', receive);
    return { post: (message, transfer = []) => parentPort.postMessage(message, transfer) };
  }
  const child = globalThis.process;
  if (typeof child?.send === 'function') {
    child.on('message', receive);
    child.on('disconnect', () => child.exit());
    for (const signal of LEFT_TO_PARENT) child.on(signal, () => {});
    return { post: (message) => void child.send?.(message) };
  }
  globalThis.addEventListener('message', ({ data }: MessageEvent<RankRequest<Source> | HoldMessage>) => {
    if ('hold' in data) holdLock(data.hold);
    else receive(data);
  });
  return { post: (message, transfer = []) => globalThis.postMessage(message, { transfer: [...transfer] }) };
}

function holdLock(name: string): void {
  const held: HeldMessage = { held: name };
  navigator.locks.request(name, () => {
    globalThis.postMessage(held);
    return new Promise(() => {});
  });
}
