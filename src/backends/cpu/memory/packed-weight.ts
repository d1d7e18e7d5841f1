import { ArgumentError } from '../../../errors.ts';
import type { WeightDType } from '../../../tensor/dtype.ts';
import { roundWeight } from '../../../tensor/quantize.ts';
import { checkWeightRows, type LinearWeight } from '../../contract/linear.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { BlockWeight } from './block-weight.ts';
import type { CpuMemory } from './cpu-memory.ts';
import type { CpuRuntime } from './cpu-runtime.ts';
import { roundUp } from './cpu-tensor.ts';
import { Fp8Weight } from './fp8-weight.ts';
import { STAGING_BYTES } from './pack-block-rows.ts';
import { BLOCK, PANEL } from './panels.ts';

/** Dtype in which kernels keep weights. float16 is rounded on the way in and kept as float32. */
export type Packing = 'float32' | 'bfloat16' | 'int8' | 'int4';

/** Bytes of a panel over the inputs of one block, or over one input: see kernels/linear-*.ts. */
const UNIT_BYTES = {
  float32: 4 * PANEL,
  bfloat16: 2 * PANEL,
  int8: 64 + PANEL * BLOCK,
  int4: 96 + (PANEL * BLOCK) / 2,
};

/** A weight matrix in the layout of the kernels, in panels of 16 outputs. */
export class PackedWeight implements LinearWeight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly dtype: WeightDType;
  readonly packing: Packing;
  readonly memory: CpuMemory;
  readonly address: number;
  readonly panels: number;
  /** Inputs, rounded up to what a block of the dtype needs. */
  readonly paddedInputs: number;
  readonly #kernels: Kernels;

  /** All zeros. */
  constructor({ memory, kernels }: CpuRuntime, outFeatures: number, inFeatures: number, dtype: WeightDType) {
    this.memory = memory;
    this.#kernels = kernels;
    this.outFeatures = outFeatures;
    this.inFeatures = inFeatures;
    this.dtype = dtype;
    this.packing = dtype === 'float16' ? 'float32' : dtype;
    this.panels = Math.ceil(outFeatures / PANEL);
    const isBlockwise = dtype === 'int8' || dtype === 'int4';
    this.paddedInputs = isBlockwise ? roundUp(inFeatures, BLOCK) : inFeatures;
    const units = isBlockwise ? this.paddedInputs / BLOCK : inFeatures;
    const bytes = this.panels * units * UNIT_BYTES[this.packing];
    this.address = memory.allocateZeros(bytes);
  }

  /** Packs whole rows. A row comes once. */
  writeRows(firstRow: number, values: Float32Array): void {
    checkWeightRows(values.length, firstRow, this);
    const K = this.inFeatures;
    const atOnce = Math.max(1, Math.floor(STAGING_BYTES / (4 * K)));
    for (let begin = 0, row = firstRow; begin < values.length; begin += atOnce * K, row += atOnce) {
      this.#pack(row, values.subarray(begin, begin + atOnce * K));
    }
  }

  #pack(firstRow: number, values: Float32Array): void {
    this.memory.scope(() => {
      const staged = this.memory.allocate(4 * values.length);
      const rows = this.memory.floats.subarray(staged / 4, staged / 4 + values.length);
      rows.set(values);
      if (this.dtype === 'float16') roundWeight(rows, this.inFeatures, 'float16');
      const { packF32, packBF16, packInt8, packInt4 } = this.#kernels;
      const pack = { float32: packF32, bfloat16: packBF16, int8: packInt8, int4: packInt4 }[this.packing];
      pack(staged, values.length / this.inFeatures, this.inFeatures, this.address, firstRow);
    });
  }
}

/** A weight matrix as the kernels read it. */
export type CpuWeight = PackedWeight | BlockWeight | Fp8Weight;

/** The form that a weight has in the backend with this memory, which made it. */
export function cpuWeight(memory: CpuMemory, weight: LinearWeight): CpuWeight {
  const isOwn = weight instanceof PackedWeight || weight instanceof BlockWeight || weight instanceof Fp8Weight;
  if (isOwn && weight.memory === memory) return weight;
  throw new ArgumentError('The weight belongs to another backend.', 'Make it with linearWeight of this backend.');
}
