import type { BlockFormat } from '../../../tensor/block-formats.ts';
import type { LinearWeight } from '../../contract/linear.ts';
import { type BlockKernels, CODE_FORMATS, type CodeFormat } from '../kernels/kernels.ts';
import type { CpuMemory } from './cpu-memory.ts';
import type { CpuRuntime } from './cpu-runtime.ts';
import { packBlockRows } from './pack-block-rows.ts';
import { PANEL } from './panels.ts';

export function isCodeFormat(format: BlockFormat): format is CodeFormat {
  return CODE_FORMATS.some((known) => known === format);
}

/** Formats whose blocks the backend keeps, in its own order: E4M3 in an Fp8Weight. */
export const CPU_BLOCK_FORMATS: ReadonlySet<BlockFormat> = new Set([...CODE_FORMATS, 'F8_E4M3']);

/** A weight matrix in the codes and scales of its file, in panels of 16 outputs: see kernels/blocks/formats.ts. */
export class BlockWeight implements LinearWeight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly dtype: CodeFormat;
  /** The kernels for its format. */
  readonly kernels: BlockKernels;
  readonly memory: CpuMemory;
  readonly address: number;
  readonly panels: number;

  /** All zeros. */
  constructor({ memory, blockKernels }: CpuRuntime, outFeatures: number, inFeatures: number, format: CodeFormat) {
    this.memory = memory;
    this.kernels = blockKernels(format);
    this.outFeatures = outFeatures;
    this.inFeatures = inFeatures;
    this.dtype = format;
    this.panels = Math.ceil(outFeatures / PANEL);
    this.address = memory.allocateZeros(this.panels * this.kernels.panelBytes(inFeatures));
  }

  /** Packs whole rows of blocks. A row comes once. */
  writeBlocks(firstRow: number, blocks: Uint8Array): void {
    packBlockRows(this.memory, this, firstRow, blocks, (staged, count, row) => {
      this.kernels.pack(staged, count, this.inFeatures, this.address, row);
    });
  }
}
