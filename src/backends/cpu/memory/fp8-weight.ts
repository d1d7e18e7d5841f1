import { ShapeError } from '../../../errors.ts';
import { BLOCK_FORMATS, blockRowBytes } from '../../../tensor/block-formats.ts';
import { formatShape } from '../../../tensor/tensor.ts';
import type { LinearWeight } from '../../contract/linear.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { CpuMemory } from './cpu-memory.ts';
import type { CpuRuntime } from './cpu-runtime.ts';
import { PANEL, STAGING_BYTES } from './panels.ts';

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
    if (inFeatures % BLOCK_FORMATS.F8_E4M3.rowMultiple !== 0) {
      throw new ShapeError(`Rows of ${inFeatures} values are no whole blocks of ${this.dtype}.`);
    }
    this.address = memory.allocateZeros(this.panels * PANEL * blockRowBytes(this.dtype, inFeatures));
  }

  /** Packs whole rows of blocks. A row comes once. */
  writeBlocks(firstRow: number, blocks: Uint8Array): void {
    const rowBytes = blockRowBytes(this.dtype, this.inFeatures);
    const rows = blocks.length / rowBytes;
    if (!Number.isInteger(rows) || firstRow < 0 || firstRow + rows > this.outFeatures) {
      throw new ShapeError(
        `${blocks.length} bytes from row ${firstRow} on are not rows of ${formatShape([this.outFeatures, this.inFeatures])} in ${this.dtype}.`,
      );
    }
    const atOnce = Math.max(1, Math.floor(STAGING_BYTES / rowBytes));
    for (let row = 0; row < rows; row += atOnce) {
      const some = blocks.subarray(row * rowBytes, (row + atOnce) * rowBytes);
      this.memory.scope(() => {
        const staged = this.memory.allocate(some.length);
        this.memory.bytes.set(some, staged);
        this.#kernels.packF8(staged, some.length / rowBytes, this.inFeatures, this.address, firstRow + row);
      });
    }
  }
}
