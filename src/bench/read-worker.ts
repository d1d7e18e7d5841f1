import { parentPort, workerData } from 'node:worker_threads';
import { compileReadKernel, instantiateBenchKernels } from './bench-kernels.ts';
import { sharedNow, type WorkTimes } from './bench-threads.ts';

/** Data that a reading thread is started with. */
export interface ReadWorkerData {
  /** Size of its own buffer: whole 64 KiB pages. */
  readonly bytes: number;
  /** Times that it reads the buffer per request. */
  readonly sweeps: number;
}

/** Reads a buffer of its own from end to end whenever it is asked to. */
const { bytes, sweeps } = workerData as ReadWorkerData;
const memory = new WebAssembly.Memory({ initial: bytes / 65536 });
// Pages that were never written are one and the same page of zeros, which would stay in the cache.
new Uint8Array(memory.buffer).fill(1);
const { read } = instantiateBenchKernels(compileReadKernel(), memory);
// The engine compiles quickly first and well later, when it has seen that this runs.
for (let i = 0; i < 2; i++) readAll();

parentPort?.on('message', () => {
  const begin = sharedNow();
  for (let sweep = 0; sweep < sweeps; sweep++) readAll();
  const times: WorkTimes = { begin, end: sharedNow() };
  parentPort?.postMessage(times);
});
parentPort?.postMessage('ready');

function readAll(): void {
  read(0, bytes / 2, bytes / 2);
}
