import type { CpuRuntime } from './memory/cpu-runtime.ts';
import { CpuTensor } from './memory/cpu-tensor.ts';
import { PackedWeight } from './memory/packed-weight.ts';
import { CpuLinear } from './ops/linear.ts';

const ROWS = 5;
const INPUTS = 160;
const OUTPUTS = 32;
/** Number of calls after which V8 has optimised a kernel: the check is of the optimised code. */
const WARM_UP = 400;

/**
 * Whether the kernels that depend on relaxed or experimental instructions compute what they should, optimised code
 * included. Products of small integers make every order of summation exact, so the comparison is too.
 */
export function kernelsAreRight(runtime: CpuRuntime): boolean {
  const { memory } = runtime;
  return memory.scope(() => {
    const linear = new CpuLinear(runtime);
    const x = CpuTensor.allocate(memory, [ROWS, INPUTS]);
    for (let i = 0; i < ROWS; i++) {
      for (let k = 0; k < INPUTS; k++) memory.floats[x.address / 4 + i * x.stride + k] = activation(i, k);
    }
    const weights = Float32Array.from({ length: OUTPUTS * INPUTS }, (_, i) =>
      weight(Math.floor(i / INPUTS), i % INPUTS),
    );
    return (['float32', 'bfloat16', 'int8', 'int4'] as const).every((dtype) => {
      const packed = new PackedWeight(runtime, OUTPUTS, INPUTS, dtype);
      packed.writeRows(0, weights);
      for (let call = 0; call < WARM_UP; call++) memory.scope(() => linear.run(x, packed, undefined));
      return memory.scope(() =>
        isProduct(linear.run(x, packed, undefined), dtype === 'int8' || dtype === 'int4' ? 0.05 : 0),
      );
    });
  });
}

/** Small integers, of which each block holds the largest, so that quantised activations are nearly exact. */
function activation(row: number, k: number): number {
  return k % 32 === 0 ? 63 : ((row * 31 + k * 7) % 127) - 63;
}

/** Integers from -7 to 7, exact in every dtype. */
function weight(output: number, k: number): number {
  return k % 32 === 0 ? 7 : ((output * 13 + k * 5) % 15) - 7;
}

function isProduct(y: CpuTensor, tolerance: number): boolean {
  const { floats } = y.memory;
  for (let i = 0; i < ROWS; i++) {
    for (let o = 0; o < OUTPUTS; o++) {
      let expected = 0;
      let size = 0;
      for (let k = 0; k < INPUTS; k++) {
        expected += activation(i, k) * weight(o, k);
        size += Math.abs(activation(i, k) * weight(o, k));
      }
      if (!(Math.abs(floats[y.address / 4 + i * y.stride + o] - expected) <= tolerance * size)) return false;
    }
  }
  return true;
}
