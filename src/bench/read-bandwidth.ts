import { BenchThreads } from './bench-threads.ts';
import type { ReadWorkerData } from './read-worker.ts';
import { median } from './spread.ts';

/** Per thread: well above what caches hold, well below what machines have. */
const BUFFER_BYTES = 2 ** 28;
const SWEEPS = 4;
const REPETITIONS = 7;

/**
 * Read bandwidth of the memory when `threads` threads read large buffers at the same time: the ceiling for work that
 * reads every weight once, as decoding does. → bytes per second, the median of several tries
 */
export async function measureReadBandwidth(threads: number): Promise<number> {
  const workerData: ReadWorkerData = { bytes: BUFFER_BYTES, sweeps: SWEEPS };
  const readers = await BenchThreads.start('read-worker', threads, workerData);
  try {
    const rates: number[] = [];
    for (let i = 0; i < REPETITIONS; i++) {
      const { seconds } = await readers.run('read');
      rates.push((threads * BUFFER_BYTES * SWEEPS) / seconds);
    }
    return median(rates);
  } finally {
    await readers.dispose();
  }
}
