import { parentPort } from 'node:worker_threads';
import {
  instantiateBenchKernels,
  OPERANDS,
  type ProductKind,
  productKernel,
  type Rows,
  STEPS,
  VECTORS,
} from './bench-kernels.ts';
import { sharedNow, type WorkTimes } from './bench-threads.ts';

/** Request to a multiplying thread. */
export interface ProductRequest {
  readonly kind: ProductKind;
  /** The kernels of that kind. */
  readonly module: WebAssembly.Module;
  readonly rows: Rows;
  readonly milliseconds: number;
}

/** Answer of a multiplying thread. */
export interface ProductReply extends WorkTimes {
  /** Times that it went over its rows. */
  readonly times: number;
}

/** Products between two readings of the clock: some 0.1 ms, so that reading it costs next to nothing. */
const TIMES_PER_CALL = 100;

/** Multiplies for as long as it is asked to, over operands of its own. */
const memory = new WebAssembly.Memory({ initial: 2 });
const ones = new Float32Array(memory.buffer);
// 1.0, whose bytes are integers that products of bytes may have too.
ones.fill(1);

parentPort?.on('message', ({ kind, module, rows, milliseconds }: ProductRequest) => {
  const multiply = instantiateBenchKernels(module, memory)[productKernel(kind, rows)];
  const w = OPERANDS + 4 * STEPS * rows;
  const out = w + 16 * STEPS * VECTORS;
  let times = 0;
  const begin = sharedNow();
  let end = begin;
  while (end < begin + milliseconds) {
    multiply(OPERANDS, w, out, TIMES_PER_CALL);
    times += TIMES_PER_CALL;
    end = sharedNow();
  }
  const reply: ProductReply = { begin, end, times };
  parentPort?.postMessage(reply);
});
parentPort?.postMessage('ready');
