import { ShapeError } from '../../../errors.ts';
import { type BlockFormat, blockRowBytes } from '../../../tensor/block-formats.ts';
import { formatShape } from '../../../tensor/tensor.ts';
import type { LinearWeight } from '../../contract/linear.ts';
import type { CpuMemory } from './cpu-memory.ts';

/** Formats that the kernels read, and their numbers in kernels/blocks. */
const FORMAT_NUMBERS: Readonly<Partial<Record<BlockFormat, number>>> = { Q8_0: 0, Q4_0: 1, Q4_K: 2, Q5_K: 3, Q6_K: 4 };

/** Formats whose blocks the backend keeps as a file holds them. */
export const CPU_BLOCK_FORMATS: ReadonlySet<BlockFormat> = new Set(Object.keys(FORMAT_NUMBERS) as BlockFormat[]);

/** A weight matrix as its file holds it: row after row, each a run of blocks. */
export class BlockWeight implements LinearWeight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly dtype: BlockFormat;
  readonly memory: CpuMemory;
  readonly address: number;
  readonly rowBytes: number;

  /** All zeros. */
  constructor(memory: CpuMemory, outFeatures: number, inFeatures: number, format: BlockFormat) {
    this.memory = memory;
    this.outFeatures = outFeatures;
    this.inFeatures = inFeatures;
    this.dtype = format;
    this.rowBytes = blockRowBytes(format, inFeatures);
    this.address = memory.allocateZeros(outFeatures * this.rowBytes);
  }

  /** Number of the format for kernels. */
  get format(): number {
    return FORMAT_NUMBERS[this.dtype] ?? 0;
  }

  writeBlocks(firstRow: number, blocks: Uint8Array): void {
    const rows = blocks.length / this.rowBytes;
    if (!Number.isInteger(rows) || firstRow < 0 || firstRow + rows > this.outFeatures) {
      throw new ShapeError(
        `${blocks.length} bytes from row ${firstRow} on are not rows of ${formatShape([this.outFeatures, this.inFeatures])} in ${this.dtype}.`,
      );
    }
    this.memory.bytes.set(blocks, this.address + firstRow * this.rowBytes);
  }
}
