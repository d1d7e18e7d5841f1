import { compileProducts, PRODUCTS, type ProductKind, ROWS, STEPS, VECTORS } from './bench-kernels.ts';
import { BenchThreads } from './bench-threads.ts';
import type { ProductReply, ProductRequest } from './product-worker.ts';

/** Operations per second, where a product and its addition are two. */
export interface ArithmeticPeak {
  /** Peak for float32, bfloat16 and float16 weights, and for the scan with any weights. */
  readonly float32: number;
  /**
   * Peak for int8 and int4 weights: of the quickest of the relaxed dot product of bytes, relaxed products that are added in
   * pairs, and products of 16-bit integers.
   */
  readonly int8: number;
}

const MILLISECONDS = 10;
const REPETITIONS = 10;

/**
 * Most operations per second that this JavaScript engine can do on this machine, when `threads` threads do nothing else and
 * find every operand in the first-level cache: the ceiling for work that uses every weight many times, as prefill does.
 * → the greatest of several tries of several kernels: the first tries run code that the engine has yet to optimise.
 */
export async function measureArithmeticPeak(threads: number): Promise<ArithmeticPeak> {
  const multipliers = await BenchThreads.start('product-worker', threads);
  try {
    const float32 = await fastest(multipliers, ['float32', 'fusedFloat32']);
    const int8 = await fastest(multipliers, ['int8', 'pairs', 'int16']);
    return { float32, int8 };
  } finally {
    await multipliers.dispose();
  }
}

/** The greatest rate of any of these kinds that the JavaScript engine has, with any number of rows. */
async function fastest(multipliers: BenchThreads, kinds: readonly ProductKind[]): Promise<number> {
  let best = 0;
  for (const kind of kinds) {
    const module = compileProducts(kind);
    if (!module) continue;
    for (const rows of ROWS) {
      const request: ProductRequest = { kind, module, rows, milliseconds: MILLISECONDS };
      const operations = 2 * PRODUCTS[kind].perInstruction * rows * VECTORS * STEPS;
      for (let i = 0; i < REPETITIONS; i++) {
        const { replies, seconds } = await multipliers.run<ProductReply>(request);
        const times = replies.reduce((sum, reply) => sum + reply.times, 0);
        best = Math.max(best, (times * operations) / seconds);
      }
    }
  }
  return best;
}
