import { blockRowBytes } from '../../../tensor/block-formats.ts';
import type { LinearWeight } from '../../contract/linear.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { CpuMemory } from './cpu-memory.ts';
import type { CpuRuntime } from './cpu-runtime.ts';
import { packBlockRows } from './pack-block-rows.ts';
import { PANEL } from './panels.ts';

/** A weight matrix of E4M3 codes with a scale for 128 inputs, in panels of 16 outputs: see kernels/linear-fp8.ts. */
export class Fp8Weight implements LinearWeight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly dtype = 'F8_E4M3';
  readonly memory: CpuMemory;
  readonly address: number;
  readonly panels: number;
  readonly #kernels: Kernels;

  /** All zeros. */
  constructor({ memory, kernels }: CpuRuntime, outFeatures: number, inFeatures: number) {
    this.memory = memory;
    this.#kernels = kernels;
    this.outFeatures = outFeatures;
    this.inFeatures = inFeatures;
    this.panels = Math.ceil(outFeatures / PANEL);
    this.address = memory.allocateZeros(this.panels * PANEL * blockRowBytes(this.dtype, inFeatures));
  }

  /** Packs whole rows of blocks. A row comes once. */
  writeBlocks(firstRow: number, blocks: Uint8Array): void {
    packBlockRows(this.memory, this, firstRow, blocks, (staged, count, row) => {
      this.#kernels.packF8(staged, count, this.inFeatures, this.address, row);
    });
  }
}
