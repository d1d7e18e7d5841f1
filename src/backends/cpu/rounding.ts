import { Hash } from '../../util/hash.ts';
import type { CpuRuntime } from './memory/cpu-runtime.ts';
import { CpuTensor } from './memory/cpu-tensor.ts';
import { PackedWeight } from './memory/packed-weight.ts';
import { CpuLinear } from './ops/linear.ts';

/** One row and several have products of their own. */
const ROWS = [1, 5];
const INPUTS = 256;
const OUTPUTS = 32;

/**
 * A hash of some products: engines and processors that round in the same way have the same. With relaxed SIMD some
 * fuse multiplication and addition, and some do not.
 */
export function roundingOf(runtime: CpuRuntime): string {
  const { memory } = runtime;
  const hash = new Hash();
  for (const dtype of ['float32', 'bfloat16', 'int8', 'int4'] as const) {
    memory.scope(() => {
      const weight = new PackedWeight(runtime, OUTPUTS, INPUTS, dtype);
      weight.writeRows(
        0,
        Float32Array.from({ length: OUTPUTS * INPUTS }, (_, i) => Math.fround(((i * 37) % 101) / 101 - 0.5)),
      );
      for (const rows of ROWS) {
        const x = CpuTensor.allocate(memory, [rows, INPUTS]);
        for (let i = 0; i < rows; i++) {
          for (let k = 0; k < INPUTS; k++)
            memory.floats[x.address / 4 + i * x.stride + k] = ((i * 31 + k * 7) % 97) / 97;
        }
        const y = new CpuLinear(runtime).run(x, weight, undefined);
        for (let i = 0; i < rows; i++) {
          const begin = y.address / 4 + i * y.stride;
          hash.addFloats(memory.floats.slice(begin, begin + OUTPUTS));
        }
      }
    });
  }
  return `${hash}`;
}
