import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { nodeWorkerOptions } from '../distributed/node-worker-options.ts';

/** Times at which a thread's work began and ended, in milliseconds on a clock that all threads share. */
export interface WorkTimes {
  readonly begin: number;
  readonly end: number;
}

/** Threads that all do the same at the same time. They say when they are ready, and answer every message once. */
export class BenchThreads {
  readonly #workers: readonly Worker[];

  private constructor(workers: readonly Worker[]) {
    this.#workers = workers;
  }

  /**
   * Starts them and waits until all are ready.
   * @param name of the worker's file in this folder, without its ending.
   */
  static async start(name: string, threads: number, workerData?: unknown): Promise<BenchThreads> {
    const file = import.meta.url.endsWith('.ts') ? `./${name}.ts` : `./${name}.js`;
    const url = new URL(file, import.meta.url);
    const workers = Array.from({ length: threads }, () => new Worker(url, { ...nodeWorkerOptions(), workerData }));
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    return new BenchThreads(workers);
  }

  /** Sends all the same message at once. → what each answered, and the seconds from the first's begin to the last's end */
  async run<Reply extends WorkTimes>(message: unknown): Promise<{ replies: Reply[]; seconds: number }> {
    const answers = this.#workers.map(async (worker): Promise<Reply> => (await once(worker, 'message'))[0]);
    for (const worker of this.#workers) worker.postMessage(message);
    const replies = await Promise.all(answers);
    const begin = Math.min(...replies.map((reply) => reply.begin));
    const end = Math.max(...replies.map((reply) => reply.end));
    return { replies, seconds: (end - begin) / 1000 };
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}

/** The present on the clock of {@link WorkTimes}. */
export function sharedNow(): number {
  return performance.timeOrigin + performance.now();
}
