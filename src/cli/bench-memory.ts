import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { ReadTimes, ReadWorkerData } from './bench-memory-worker.ts';
import { median } from './bench-spread.ts';

/** Per thread: well above what caches hold, well below what machines have. */
const BUFFER_BYTES = 2 ** 28;
const SWEEPS = 4;
const REPETITIONS = 7;

/**
 * What the machine's memory gives when `threads` threads read large buffers at the same time: the ceiling for work that
 * reads every weight once, as decoding does. → bytes per second, the median of several tries
 */
export async function measureReadBandwidth(threads: number): Promise<number> {
  const file = import.meta.url.endsWith('.ts') ? './bench-memory-worker.ts' : './bench-memory-worker.js';
  const workerData: ReadWorkerData = { bytes: BUFFER_BYTES, sweeps: SWEEPS };
  const workers = Array.from({ length: threads }, () => new Worker(new URL(file, import.meta.url), { workerData }));
  try {
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    const rates: number[] = [];
    for (let i = 0; i < REPETITIONS; i++) rates.push(await readOnce(workers));
    return median(rates);
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

async function readOnce(workers: readonly Worker[]): Promise<number> {
  const replies = workers.map(async (worker): Promise<ReadTimes> => (await once(worker, 'message'))[0]);
  for (const worker of workers) worker.postMessage('read');
  const times = await Promise.all(replies);
  const seconds = (Math.max(...times.map(({ end }) => end)) - Math.min(...times.map(({ begin }) => begin))) / 1000;
  return (workers.length * BUFFER_BYTES * SWEEPS) / seconds;
}
