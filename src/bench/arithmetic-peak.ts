import { compileWithFastSimd } from '../backends/cpu/kernels/engine-flags.ts';
import { BenchThreads } from './bench-threads.ts';
import { PRODUCT_INSTRUCTIONS, type ProductKind, productKernelModule, STEPS } from './product-kernel.ts';
import type { ProductReply, ProductRequest } from './product-worker.ts';

/** Operations per second, where a product and its addition are two. */
export interface ArithmeticPeak {
  /** For float32, bfloat16 and float16 weights, and for the scan with any. */
  readonly float32: number;
  /** The relaxed dot product of bytes, or that of 16-bit integers where the engine has none: for int8 and int4 weights. */
  readonly int8: number;
}

/**
 * Rows and vectors per step. More sums at once hide how long an instruction takes, but they must fit the registers:
 * which number is best depends on the processor, and on whether the engine widens instructions.
 */
const TILES = [
  [2, 4],
  [3, 4],
  [4, 4],
  [6, 4],
] as const;
const MILLISECONDS = 10;
const REPETITIONS = 10;

/**
 * What this JavaScript engine can multiply and add on this machine at most, when `threads` threads do nothing else and
 * find every operand in the first-level cache: the ceiling for work that uses every weight many times, as prefill does.
 * → the greatest of several tries of several kernels: the first tries run code that the engine has yet to optimise.
 */
export async function measureArithmeticPeak(threads: number): Promise<ArithmeticPeak> {
  const multipliers = await BenchThreads.start('product-worker', threads);
  try {
    const float32 = await fastest(multipliers, ['float32', 'fusedFloat32']);
    const int8 = await fastest(multipliers, ['int8', 'int16']);
    return { float32, int8 };
  } finally {
    await multipliers.dispose();
  }
}

/** Of those kinds that the engine has. */
async function fastest(multipliers: BenchThreads, kinds: readonly ProductKind[]): Promise<number> {
  let best = 0;
  for (const [kind, [rows, vectors]] of kinds.flatMap((kind) => TILES.map((tile) => [kind, tile] as const))) {
    const module = compileWithFastSimd(productKernelModule(kind, rows, vectors));
    if (!module) continue;
    const request: ProductRequest = { module, rows, vectors, milliseconds: MILLISECONDS };
    const operations = 2 * PRODUCT_INSTRUCTIONS[kind].products * rows * vectors * STEPS;
    for (let i = 0; i < REPETITIONS; i++) {
      const { replies, seconds } = await multipliers.run<ProductReply>(request);
      const times = replies.reduce((sum, reply) => sum + reply.times, 0);
      best = Math.max(best, (times * operations) / seconds);
    }
  }
  return best;
}
