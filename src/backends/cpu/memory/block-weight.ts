import type { BlockFormat } from '../../../tensor/block-formats.ts';
import type { LinearWeight } from '../../contract/linear.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { CpuMemory } from './cpu-memory.ts';
import type { CpuRuntime } from './cpu-runtime.ts';
import { packBlockRows } from './pack-block-rows.ts';
import { PANEL } from './panels.ts';

/** Formats whose codes the kernels of kernels/blocks read, and their numbers there. */
const FORMAT_NUMBERS = {
  Q8_0: 0,
  Q4_0: 1,
  Q4_K: 2,
  Q5_K: 3,
  Q6_K: 4,
  MXFP4: 5,
  NVFP4: 6,
  INT4_G32: 7,
  INT4_G64: 8,
  INT4_G128: 9,
  INT8_G128: 10,
} as const satisfies Partial<Record<BlockFormat, number>>;

/** A format that a {@link BlockWeight} can have. */
export type CodeFormat = keyof typeof FORMAT_NUMBERS;

export const CODE_FORMATS = Object.keys(FORMAT_NUMBERS) as readonly CodeFormat[];

export function isCodeFormat(format: BlockFormat): format is CodeFormat {
  return Object.hasOwn(FORMAT_NUMBERS, format);
}

/** Formats whose blocks the backend keeps, in its own order: E4M3 in an Fp8Weight. */
export const CPU_BLOCK_FORMATS: ReadonlySet<BlockFormat> = new Set([...CODE_FORMATS, 'F8_E4M3']);

/** A weight matrix in the codes and scales of its file, in panels of 16 outputs: see kernels/blocks/formats.ts. */
export class BlockWeight implements LinearWeight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly dtype: CodeFormat;
  /** Number of the format for kernels. */
  readonly format: number;
  readonly memory: CpuMemory;
  readonly address: number;
  readonly panels: number;
  readonly #kernels: Kernels;

  /** All zeros. */
  constructor({ memory, kernels }: CpuRuntime, outFeatures: number, inFeatures: number, format: CodeFormat) {
    this.memory = memory;
    this.#kernels = kernels;
    this.outFeatures = outFeatures;
    this.inFeatures = inFeatures;
    this.dtype = format;
    this.format = FORMAT_NUMBERS[format];
    this.panels = Math.ceil(outFeatures / PANEL);
    this.address = memory.allocateZeros(this.panels * kernels.blockPanelBytes(this.format, inFeatures));
  }

  /** Packs whole rows of blocks. A row comes once. */
  writeBlocks(firstRow: number, blocks: Uint8Array): void {
    packBlockRows(this.memory, this, firstRow, blocks, (staged, count, row) => {
      this.#kernels.packBlocks(this.format, staged, count, this.inFeatures, this.address, row);
    });
  }
}
