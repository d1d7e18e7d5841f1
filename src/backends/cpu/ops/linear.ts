import type { Tensor } from '../../../tensor/tensor.ts';
import type { LinearWeight } from '../../contract/linear.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { BlockWeight } from '../memory/block-weight.ts';
import type { CpuMemory } from '../memory/cpu-memory.ts';
import type { CpuRuntime } from '../memory/cpu-runtime.ts';
import { CpuTensor, cpuFloats, roundUp, vectorAddress } from '../memory/cpu-tensor.ts';
import { Fp8Weight } from '../memory/fp8-weight.ts';
import { type CpuWeight, cpuWeight, type PackedWeight } from '../memory/packed-weight.ts';
import { BLOCK, PANEL } from '../memory/panels.ts';

/** Most bytes of the sums of 128 quantised activations: see kernels/blocks/activations.ts. */
const SUM_BYTES = 32;
const VECTOR_BYTES = 16;
/** Bytes of some inputs of a panel as float32: see kernels/linear-float.ts. */
const WIDENED_BYTES = 16384;
/** Most bytes of an input of a row as products take it, and of an input of a panel: see kernels/linear-int8.ts. */
const INPUT_BYTES = 2;
const PANEL_INPUT_BYTES = 33;
/** Most bytes of a block on its way there. */
const BLOCK_BYTES = 4608;

/** Linear layers over weights in any of the kernels' layouts. */
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
    const packed = cpuWeight(this.#memory, weight);
    const { inFeatures, outFeatures } = packed;
    const input = cpuFloats(this.#memory, x, 'x', [null, inFeatures]);
    const b = bias && vectorAddress(this.#runtime, bias, 'bias', outFeatures);
    const T = x.shape[0];
    const out = CpuTensor.allocate(this.#memory, [T, outFeatures], PANEL);
    this.#memory.scope(() => {
      this.multiply(input, packed, out, T, this.#memory.allocate(this.scratch(T, packed)));
    });
    const { add } = this.#kernels;
    if (b !== undefined) add(out.address, out.byteStride, b, 0, out.address, out.byteStride, T, outFeatures);
    return out;
  }

  /** Bytes of scratch memory for a number of rows. */
  scratch(rows: number, weight: CpuWeight): number {
    if (weight instanceof BlockWeight) {
      const K = weight.inFeatures;
      return rows * (K + ((4 + SUM_BYTES) * K) / BLOCK) + weight.kernels.linearScratch(K) + 2 * VECTOR_BYTES;
    }
    // A block of a panel as float32, which rows share.
    if (weight instanceof Fp8Weight) return 4 * PANEL * BLOCK + VECTOR_BYTES;
    const { packing, paddedInputs } = weight;
    if (packing === 'float32' || packing === 'bfloat16')
      return rows === 1 ? 0 : 4 * rows * paddedInputs + WIDENED_BYTES;
    const spelled = (INPUT_BYTES * rows + PANEL_INPUT_BYTES) * paddedInputs + BLOCK_BYTES;
    return quantizedBytes(rows, paddedInputs) + spelled;
  }

  /** The first `rows` rows of out = x Wᵀ. Rows of out are whole panels. */
  multiply(x: CpuTensor, weight: CpuWeight, out: CpuTensor, rows: number, scratch: number): void {
    if (weight instanceof BlockWeight) this.#multiplyBlocks(x, weight, out, rows, scratch);
    else if (weight instanceof Fp8Weight) this.#multiplyFp8(x, weight, out, rows, scratch);
    else this.#multiplyPacked(x, weight, out, rows, scratch);
  }

  #multiplyPacked(x: CpuTensor, weight: PackedWeight, out: CpuTensor, rows: number, scratch: number): void {
    const { address: w, panels, inFeatures: K, paddedInputs, packing } = weight;
    const products = rows === 1 ? this.#runtime.products.decode : this.#runtime.products.prompt;
    const to = [out.address, out.byteStride, rows, panels] as const;
    switch (packing) {
      case 'float32':
        products.linearF32(x.address, x.byteStride, w, ...to, K, scratch);
        return;
      case 'bfloat16':
        products.linearBF16(x.address, x.byteStride, w, ...to, K, scratch);
        return;
      case 'int8':
      case 'int4': {
        const scales = scratch + rows * paddedInputs;
        this.#kernels.quantizeRows(x.address, x.byteStride, scratch, scales, rows, K, paddedInputs);
        const spelled = scratch + quantizedBytes(rows, paddedInputs);
        const linear = packing === 'int8' ? products.linearInt8 : products.linearInt4;
        linear(scratch, scales, w, ...to, paddedInputs, spelled);
      }
    }
  }

  #multiplyFp8(x: CpuTensor, weight: Fp8Weight, out: CpuTensor, rows: number, scratch: number): void {
    const { address: w, panels, inFeatures: K } = weight;
    const to = [out.address, out.byteStride] as const;
    this.#kernels.linearF8(x.address, x.byteStride, w, ...to, rows, panels, K, roundUp(scratch, VECTOR_BYTES));
  }

  #multiplyBlocks(x: CpuTensor, weight: BlockWeight, out: CpuTensor, rows: number, scratch: number): void {
    const { address: w, inFeatures: K, panels, kernels } = weight;
    const scales = scratch + rows * K;
    const sums = roundUp(scales + (4 * rows * K) / BLOCK, VECTOR_BYTES);
    const spelled = roundUp(sums + (SUM_BYTES * rows * K) / BLOCK, VECTOR_BYTES);
    kernels.quantize(x.address, x.byteStride, scratch, scales, sums, rows, K);
    kernels.linear(scratch, scales, sums, w, out.address, out.byteStride, rows, panels, K, spelled);
  }
}

/** Rows of bytes and the scales of their blocks. */
function quantizedBytes(rows: number, paddedInputs: number): number {
  return rows * paddedInputs + (4 * rows * paddedInputs) / BLOCK;
}
