import { parentPort } from 'node:worker_threads';
import { sharedNow, type WorkTimes } from './bench-threads.ts';
import { type ProductKernel, STEPS } from './product-kernel.ts';

/** What a multiplying thread is asked to do. */
export interface ProductRequest {
  readonly module: WebAssembly.Module;
  readonly rows: number;
  readonly vectors: number;
  readonly milliseconds: number;
}

/** What it did. */
export interface ProductReply extends WorkTimes {
  /** Times that it went over its rows. */
  readonly times: number;
}

/** Some 0.1 ms: the clock costs nothing beside it. */
const TIMES_PER_CALL = 100;

/** Multiplies for as long as it is asked to, over operands of its own. */
const memory = new WebAssembly.Memory({ initial: 2 });
const ones = new Float32Array(memory.buffer);
// 1.0, whose bytes are integers that products of bytes may have too.
ones.fill(1);

parentPort?.on('message', ({ module, rows, vectors, milliseconds }: ProductRequest) => {
  const { multiply } = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as ProductKernel;
  const w = 4 * STEPS * rows;
  const out = w + 16 * STEPS * vectors;
  let times = 0;
  const begin = sharedNow();
  let end = begin;
  while (end < begin + milliseconds) {
    multiply(0, w, out, TIMES_PER_CALL);
    times += TIMES_PER_CALL;
    end = sharedNow();
  }
  const reply: ProductReply = { begin, end, times };
  parentPort?.postMessage(reply);
});
parentPort?.postMessage('ready');
