import type { Tensor } from '../../tensor/tensor.ts';
import type { LinearWeight } from '../backend.ts';
import type { CpuMemory } from './cpu-memory.ts';
import type { CpuRuntime } from './cpu-runtime.ts';
import { CpuTensor, cpuFloats, vectorAddress } from './cpu-tensor.ts';
import type { Kernels } from './kernels.ts';
import { BLOCK, PANEL, packedWeight } from './packed-weight.ts';

/** Linear layers over packed weights. */
export class CpuLinear {
  readonly #runtime: CpuRuntime;
  readonly #memory: CpuMemory;
  readonly #kernels: Kernels;

  constructor(runtime: CpuRuntime) {
    this.#runtime = runtime;
    this.#memory = runtime.memory;
    this.#kernels = runtime.kernels;
  }

  /** x Wᵀ + bias */
  run(x: Tensor, weight: LinearWeight, bias: Tensor | undefined): CpuTensor {
    const {
      address: w,
      panels,
      inFeatures: K,
      outFeatures,
      paddedInputs,
      packing,
    } = packedWeight(this.#memory, weight);
    const input = cpuFloats(this.#memory, x, 'x', [null, K]);
    const b = bias && vectorAddress(this.#runtime, bias, 'bias', outFeatures);
    const T = x.shape[0];
    const out = CpuTensor.allocate(this.#memory, [T, outFeatures], PANEL);
    const kernels = this.#kernels;
    this.#memory.scope(() => {
      switch (packing) {
        case 'float32':
          kernels.linearF32(input.address, input.byteStride, w, out.address, out.byteStride, T, panels, K);
          return;
        case 'bfloat16': {
          const scratch = this.#memory.allocate(4 * PANEL * K);
          kernels.linearBF16(input.address, input.byteStride, w, out.address, out.byteStride, T, panels, K, scratch);
          return;
        }
        case 'int8':
        case 'int4': {
          const q = this.#memory.allocate(T * paddedInputs);
          const scales = this.#memory.allocate((4 * T * paddedInputs) / BLOCK);
          kernels.quantizeRows(input.address, input.byteStride, q, scales, T, K, paddedInputs);
          if (packing === 'int8') {
            kernels.linearInt8(q, scales, w, out.address, out.byteStride, T, panels, paddedInputs);
          } else {
            const scratch = this.#memory.allocate((PANEL + 1) * paddedInputs);
            kernels.linearInt4(q, scales, w, out.address, out.byteStride, T, panels, paddedInputs, scratch);
          }
        }
      }
    });
    if (b !== undefined) kernels.add(out.address, out.byteStride, b, 0, out.address, out.byteStride, T, outFeatures);
    return out;
  }
}
