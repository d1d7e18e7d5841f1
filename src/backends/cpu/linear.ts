import type { Tensor } from '../../tensor/tensor.ts';
import type { LinearWeight } from '../backend.ts';
import type { CpuMemory } from './cpu-memory.ts';
import { CpuTensor, cpuFloats, vectorAddress } from './cpu-tensor.ts';
import type { Kernels } from './kernels.ts';
import { INT8_BLOCK, PANEL, packedWeight } from './packed-weight.ts';

/** What quantised activations keep of a block's largest magnitude: see kernels/quantized.ts. */
const ACTIVATIONS = { int8: { limit: 63, offset: 64 }, int4: { limit: 127, offset: 0 } };

/** Linear layers over packed weights. */
export class CpuLinear {
  readonly #memory: CpuMemory;
  readonly #kernels: Kernels;

  constructor(memory: CpuMemory, kernels: Kernels) {
    this.#memory = memory;
    this.#kernels = kernels;
  }

  /** x Wᵀ + bias */
  run(x: Tensor, weight: LinearWeight, bias: Tensor | undefined): CpuTensor {
    const { address: w, panels, inFeatures: K, outFeatures, paddedInputs, dtype } = packedWeight(this.#memory, weight);
    const input = cpuFloats(this.#memory, x, 'x', [null, K]);
    const b = bias && vectorAddress(this.#memory, bias, 'bias', outFeatures);
    const T = x.shape[0];
    const out = CpuTensor.allocate(this.#memory, [T, outFeatures], PANEL);
    const kernels = this.#kernels;
    this.#memory.scope(() => {
      switch (dtype) {
        case 'float32':
        case 'float16':
          kernels.linearF32(input.address, input.byteStride, w, out.address, out.byteStride, T, panels, K);
          return;
        case 'bfloat16': {
          const scratch = this.#memory.allocate(4 * PANEL * K);
          kernels.linearBF16(input.address, input.byteStride, w, out.address, out.byteStride, T, panels, K, scratch);
          return;
        }
        case 'int8':
        case 'int4': {
          const blocks = Math.ceil(paddedInputs / INT8_BLOCK);
          const q = this.#memory.allocate(T * paddedInputs);
          const scales = this.#memory.allocate(4 * T * blocks);
          const sums = dtype === 'int4' ? this.#memory.allocate(16 * T * blocks) : 0;
          const { limit, offset } = ACTIVATIONS[dtype];
          kernels.quantizeRows(input.address, input.byteStride, q, scales, sums, T, K, paddedInputs, limit, offset);
          if (dtype === 'int8') kernels.linearInt8(q, scales, w, out.address, out.byteStride, T, panels, paddedInputs);
          else kernels.linearInt4(q, scales, sums, w, out.address, out.byteStride, T, panels, paddedInputs);
        }
      }
    });
    if (b !== undefined) kernels.add(out.address, out.byteStride, b, 0, out.address, out.byteStride, T, outFeatures);
    return out;
  }
}
