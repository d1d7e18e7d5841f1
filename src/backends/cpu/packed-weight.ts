import { ArgumentError } from '../../errors.ts';
import type { WeightDType } from '../../tensor/dtype.ts';
import { int4Scale, largestMagnitude, roundWeight } from '../../tensor/quantize.ts';
import type { LinearWeight } from '../backend.ts';
import { checkWeightRows } from '../shape-check.ts';
import type { CpuMemory } from './cpu-memory.ts';
import { roundUp } from './cpu-tensor.ts';

/** Outputs per panel: lanes are outputs, so that a sum never runs across lanes. */
export const PANEL = 16;
/** Inputs per block of int8 weights and of quantised activations. */
export const INT8_BLOCK = 128;
/** Inputs per block of int4 weights. */
const INT4_BLOCK = 32;
/** Bytes of an int8 block's scales and starts. */
const INT8_HEADER = 128;

/** A weight matrix in the layout of the kernels: see kernels/linear-f32.ts, linear-int8.ts and linear-int4.ts. */
export class PackedWeight implements LinearWeight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly dtype: WeightDType;
  readonly memory: CpuMemory;
  readonly address: number;
  readonly panels: number;
  /** Inputs, rounded up to what a block of the dtype needs. */
  readonly paddedInputs: number;
  readonly #panelBytes: number;

  /** All zeros. */
  constructor(memory: CpuMemory, outFeatures: number, inFeatures: number, dtype: WeightDType) {
    this.memory = memory;
    this.outFeatures = outFeatures;
    this.inFeatures = inFeatures;
    this.dtype = dtype;
    this.panels = Math.ceil(outFeatures / PANEL);
    this.paddedInputs =
      dtype === 'int4' ? roundUp(inFeatures, INT4_BLOCK) : dtype === 'int8' ? roundUp(inFeatures, 4) : inFeatures;
    this.#panelBytes = panelBytes(dtype, this.paddedInputs);
    this.address = memory.allocate(this.panels * this.#panelBytes);
    memory.bytes.fill(0, this.address, this.address + this.panels * this.#panelBytes);
  }

  /** Packs whole rows. A row comes once. */
  writeRows(firstRow: number, values: Float32Array): void {
    checkWeightRows(values.length, firstRow, this);
    const K = this.inFeatures;
    for (let begin = 0, row = firstRow; begin < values.length; begin += K, row++) {
      const panel = this.address + Math.floor(row / PANEL) * this.#panelBytes;
      this.#packRow(values.subarray(begin, begin + K), panel, row % PANEL);
    }
  }

  /** Writes one output's weights as float32: an embedding's row. */
  unpackRow(row: number, out: Float32Array): void {
    const { bytes, floats } = this.memory;
    const lane = row % PANEL;
    const at = this.address + Math.floor(row / PANEL) * this.#panelBytes;
    const K = this.inFeatures;
    switch (this.dtype) {
      case 'float32':
      case 'float16':
        for (let k = 0; k < K; k++) out[k] = floats[at / 4 + k * PANEL + lane];
        return;
      case 'bfloat16': {
        const halves = new Uint16Array(bytes.buffer, at, PANEL * K);
        const bits = new Uint32Array(K);
        for (let k = 0; k < K; k++) bits[k] = halves[k * PANEL + bfloat16Half(lane)] << 16;
        out.set(new Float32Array(bits.buffer));
        return;
      }
      case 'int8':
        for (let k = 0; k < K; k++) {
          const block = at + Math.floor(k / INT8_BLOCK) * (INT8_HEADER + PANEL * INT8_BLOCK);
          const q = bytes[block + INT8_HEADER + int8Offset(k % INT8_BLOCK, lane)];
          out[k] = ((q << 24) >> 24) * floats[block / 4 + lane];
        }
        return;
      case 'int4':
        for (let k = 0; k < K; k++) {
          const block = at + Math.floor(k / INT4_BLOCK) * (64 + (PANEL * INT4_BLOCK) / 2);
          const { offset, shift } = int4Place(k % INT4_BLOCK, lane);
          out[k] = (((bytes[block + 64 + offset] >> shift) & 15) - 8) * floats[block / 4 + lane];
        }
    }
  }

  #packRow(row: Float32Array, at: number, lane: number): void {
    const { bytes, floats } = this.memory;
    switch (this.dtype) {
      case 'float32':
        for (let k = 0; k < row.length; k++) floats[at / 4 + k * PANEL + lane] = row[k];
        return;
      case 'float16': {
        const rounded = row.slice();
        roundWeight(rounded, row.length, 'float16');
        for (let k = 0; k < row.length; k++) floats[at / 4 + k * PANEL + lane] = rounded[k];
        return;
      }
      case 'bfloat16': {
        const rounded = row.slice();
        roundWeight(rounded, row.length, 'bfloat16');
        const bits = new Uint32Array(rounded.buffer);
        const halves = new Uint16Array(bytes.buffer, at, PANEL * row.length);
        for (let k = 0; k < row.length; k++) halves[k * PANEL + bfloat16Half(lane)] = bits[k] >>> 16;
        return;
      }
      case 'int8':
        for (let begin = 0, block = at; begin < this.paddedInputs; begin += INT8_BLOCK) {
          const part = row.subarray(begin, begin + INT8_BLOCK);
          const scale = Math.fround(largestMagnitude(part) / 127);
          let sum = 0;
          for (let k = 0; k < part.length; k++) {
            const q = scale === 0 ? 0 : Math.round(part[k] / scale);
            bytes[block + INT8_HEADER + int8Offset(k, lane)] = q;
            sum += q;
          }
          floats[block / 4 + lane] = scale;
          new Int32Array(bytes.buffer, block + 64, PANEL)[lane] = -64 * sum;
          block += INT8_HEADER + PANEL * Math.min(INT8_BLOCK, this.paddedInputs - begin);
        }
        return;
      case 'int4':
        for (let begin = 0, block = at; begin < this.paddedInputs; begin += INT4_BLOCK) {
          const part = row.subarray(begin, begin + INT4_BLOCK);
          const scale = int4Scale(part);
          for (let k = 0; k < INT4_BLOCK; k++) {
            const q = scale === 0 || k >= part.length ? 0 : Math.min(7, Math.max(-8, Math.round(part[k] / scale)));
            const { offset, shift } = int4Place(k, lane);
            bytes[block + 64 + offset] |= (q + 8) << shift;
          }
          floats[block / 4 + lane] = scale;
          block += 64 + (PANEL * INT4_BLOCK) / 2;
        }
    }
  }
}

/** The packed form of a weight that a backend with this memory made. */
export function packedWeight(memory: CpuMemory, weight: LinearWeight): PackedWeight {
  if (weight instanceof PackedWeight && weight.memory === memory) return weight;
  throw new ArgumentError('The weight belongs to another backend.', 'Make it with linearWeight of this backend.');
}

function panelBytes(dtype: WeightDType, paddedInputs: number): number {
  switch (dtype) {
    case 'float32':
    case 'float16':
      return 4 * PANEL * paddedInputs;
    case 'bfloat16':
      return 2 * PANEL * paddedInputs;
    case 'int8':
      return PANEL * paddedInputs + INT8_HEADER * Math.ceil(paddedInputs / INT8_BLOCK);
    case 'int4':
      return (paddedInputs / INT4_BLOCK) * (64 + (PANEL * INT4_BLOCK) / 2);
  }
}

/** Which 16-bit half of a k's 32 bytes belongs to an output: outputs 0-7 are low halves, 8-15 high halves. */
function bfloat16Half(lane: number): number {
  return 2 * (lane % 8) + (lane < 8 ? 0 : 1);
}

/** Byte of input k of a block: per 4 inputs, 16 outputs of 4 bytes. */
function int8Offset(k: number, lane: number): number {
  return (k >> 2) * (4 * PANEL) + 4 * lane + (k & 3);
}

/** Byte and half byte of input k of a block: per 8 inputs, 16 outputs of 4 bytes; inputs 4-7 are high halves. */
function int4Place(k: number, lane: number): { offset: number; shift: number } {
  return { offset: (k >> 3) * (4 * PANEL) + 4 * lane + (k & 3), shift: k & 4 };
}
