import { BLOCK_FORMATS } from '../../tensor/block-formats.ts';
import { E4M3 } from '../../tensor/small-floats.ts';
import type { CodeFormat } from './kernels/kernels.ts';
import { BlockWeight } from './memory/block-weight.ts';
import type { CpuRuntime } from './memory/cpu-runtime.ts';
import { CpuTensor } from './memory/cpu-tensor.ts';
import { Fp8Weight } from './memory/fp8-weight.ts';
import { type CpuWeight, PackedWeight } from './memory/packed-weight.ts';
import { CpuLinear } from './ops/linear.ts';

/** Rows of the products that are compared: one alone, and enough for tiles of 6, 4 and 1. */
const ROW_COUNTS = [1, 11];
const INPUTS = 160;
/** Rows of blocks are longer. */
const BLOCK_INPUTS = 256;
const OUTPUTS = 32;
/** Enough calls for an engine to replace its quick code by optimised code, which is what the check is about. */
const WARM_UP = 400;
/** The number 1, in bytes. */
const FLOAT16_ONE = [0x00, 0x3c];
const FLOAT32_ONE = [0x00, 0x00, 0x80, 0x3f];
const E8M0_ONE = 127;
const E4M3_ONE = 0x38;
/** Error of a product with quantised activations, as a share of the sum of its magnitudes. */
const QUANTIZED_TOLERANCE = 0.05;

/**
 * Whether the kernels that depend on relaxed or experimental instructions compute what they should, optimised code
 * included. Products of small integers make every order of summation exact, so the comparison is too.
 * @param isOptimized whether the code is optimised from the first call on.
 */
export function kernelsAreRight(runtime: CpuRuntime, isOptimized: boolean): boolean {
  const { memory } = runtime;
  const weights = integerWeights(INPUTS);
  return memory.scope(() => {
    const valuesAreRight = (['float32', 'bfloat16', 'int8', 'int4'] as const).every((dtype) =>
      memory.scope(() => {
        const packed = new PackedWeight(runtime, OUTPUTS, INPUTS, dtype);
        packed.writeRows(0, weights);
        const tolerance = dtype === 'int8' || dtype === 'int4' ? QUANTIZED_TOLERANCE : 0;
        return ROW_COUNTS.every((rows) => isProduct(multiply(runtime, rows, packed, isOptimized), weights, tolerance));
      }),
    );
    return valuesAreRight && memory.scope(() => fp8IsRight(runtime, isOptimized));
  });
}

/**
 * Whether the kernels for a format compute what they should. Products are compared with the values that the same blocks
 * have as rows of a table.
 * @param isOptimized whether the code is optimised from the first call on.
 */
export function blockKernelsAreRight(runtime: CpuRuntime, format: CodeFormat, isOptimized: boolean): boolean {
  return runtime.memory.scope(() => {
    const weight = new BlockWeight(runtime, OUTPUTS, BLOCK_INPUTS, format);
    weight.writeBlocks(0, someBlocks(format));
    const table = valuesOf(runtime, weight);
    return ROW_COUNTS.every((rows) =>
      isProduct(multiply(runtime, rows, weight, isOptimized), table, QUANTIZED_TOLERANCE),
    );
  });
}

/** A product of activations, by optimised code. */
function multiply(runtime: CpuRuntime, rows: number, weight: CpuWeight, isOptimized: boolean): CpuTensor {
  const linear = new CpuLinear(runtime);
  const x = activations(runtime, rows, weight.inFeatures);
  for (let call = 0; call < (isOptimized ? 0 : WARM_UP); call++) {
    runtime.memory.scope(() => linear.run(x, weight, undefined));
  }
  return linear.run(x, weight, undefined);
}

function activations({ memory }: CpuRuntime, rows: number, inputs: number): CpuTensor {
  const x = CpuTensor.allocate(memory, [rows, inputs]);
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < inputs; k++) memory.floats[x.address / 4 + i * x.stride + k] = activation(i, k);
  }
  return x;
}

/** Codes of all kinds, with scales of 1. */
function someBlocks(format: CodeFormat): Uint8Array {
  const { blockValues, blockBytes, scales } = BLOCK_FORMATS[format];
  const count = (OUTPUTS * BLOCK_INPUTS) / blockValues;
  const bytes = Uint8Array.from({ length: count * blockBytes }, (_, i) => i * 37 + (i >> 5));
  for (let begin = 0; begin < bytes.length; begin += blockBytes) {
    for (const scale of scales) bytes.set(FLOAT16_ONE, begin + scale);
    if (format === 'MXFP4') bytes[begin] = E8M0_ONE;
    else if (scales.length === 0) bytes.set(FLOAT32_ONE, begin);
    if (format === 'NVFP4') bytes.fill(E4M3_ONE, begin + 4, begin + 12);
    // A word for each group, whose low byte is the zero point.
    if (format.startsWith('INT4'))
      for (let at = begin; at < begin + blockBytes - 64; at += 4) bytes.set([8, 0, 0x80, 0x3f], at);
  }
  return bytes;
}

/** Small integers as E4M3, whose products are exact, with a scale of 1. */
function fp8IsRight(runtime: CpuRuntime, isOptimized: boolean): boolean {
  const { blockValues, blockBytes } = BLOCK_FORMATS.F8_E4M3;
  const values = integerWeights(BLOCK_INPUTS);
  const bytes = new Uint8Array((values.length / blockValues) * blockBytes);
  for (const [i, value] of values.entries()) {
    const block = Math.floor(i / blockValues) * blockBytes;
    bytes.set(FLOAT32_ONE, block);
    bytes[block + 4 + (i % blockValues)] = E4M3.indexOf(value);
  }
  const weight = new Fp8Weight(runtime, OUTPUTS, BLOCK_INPUTS);
  weight.writeBlocks(0, bytes);
  return ROW_COUNTS.every((rows) => isProduct(multiply(runtime, rows, weight, isOptimized), values, 0));
}

/** The values of a matrix, as an embedding reads them. */
function valuesOf({ memory }: CpuRuntime, { kernels, address }: BlockWeight): Float32Array {
  const ids = memory.allocate(4 * OUTPUTS);
  const out = memory.allocate(4 * OUTPUTS * BLOCK_INPUTS);
  new Int32Array(memory.bytes.buffer, ids, OUTPUTS).set(Array.from({ length: OUTPUTS }, (_, i) => i));
  kernels.embedding(ids, OUTPUTS, 0, OUTPUTS, address, BLOCK_INPUTS, out, 4 * BLOCK_INPUTS);
  return memory.floats.slice(out / 4, out / 4 + OUTPUTS * BLOCK_INPUTS);
}

/** Small integers, of which each block holds the largest, so that quantised activations are nearly exact. */
function activation(row: number, k: number): number {
  return k % 32 === 0 ? 63 : ((row * 31 + k * 7) % 127) - 63;
}

/** Rows of integers from -7 to 7, exact in every dtype, of which each block holds the largest. */
function integerWeights(inputs: number): Float32Array {
  return Float32Array.from({ length: OUTPUTS * inputs }, (_, i) => {
    const [output, k] = [Math.floor(i / inputs), i % inputs];
    return k % 32 === 0 ? 7 : ((output * 13 + k * 5) % 15) - 7;
  });
}

/**
 * Whether rows of y are products of the activations with weights, but for a share of the sum of their magnitudes. Plain
 * loops, since every load of a model waits for them.
 * @param weights a row for each output.
 */
function isProduct(y: CpuTensor, weights: Float32Array, tolerance: number): boolean {
  const { floats } = y.memory;
  const inputs = weights.length / OUTPUTS;
  const x = new Float64Array(inputs);
  for (let i = 0; i < y.shape[0]; i++) {
    for (let k = 0; k < inputs; k++) x[k] = activation(i, k);
    for (let o = 0; o < OUTPUTS; o++) {
      let expected = 0;
      let size = 0;
      for (let k = 0; k < inputs; k++) {
        const product = x[k] * weights[o * inputs + k];
        expected += product;
        size += Math.abs(product);
      }
      if (!(Math.abs(floats[y.address / 4 + i * y.stride + o] - expected) <= tolerance * size)) return false;
    }
  }
  return true;
}
