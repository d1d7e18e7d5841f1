import { type BlockFormat, blockRowBytes } from '../../../tensor/block-formats.ts';
import { checkBlockRows } from '../../contract/linear.ts';
import type { CpuMemory } from './cpu-memory.ts';

/** Bytes that rows may take on their way into panels. */
export const STAGING_BYTES = 1 << 20;

/**
 * Gives whole rows of blocks to a kernel that packs them, some at a time.
 * @param pack takes the address of some rows, their number, and the first one's number in the matrix.
 * @throws ShapeError when they are not whole rows of the matrix.
 */
export function packBlockRows(
  memory: CpuMemory,
  weight: { readonly outFeatures: number; readonly inFeatures: number; readonly dtype: BlockFormat },
  firstRow: number,
  blocks: Uint8Array,
  pack: (staged: number, count: number, row: number) => void,
): void {
  checkBlockRows(blocks.length, firstRow, weight, weight.dtype);
  const rowBytes = blockRowBytes(weight.dtype, weight.inFeatures);
  const atOnce = rowBytes * Math.max(1, Math.floor(STAGING_BYTES / rowBytes));
  memory.scope(() => {
    const staged = memory.allocate(Math.min(blocks.length, atOnce));
    for (let begin = 0; begin < blocks.length; begin += atOnce) {
      const some = blocks.subarray(begin, begin + atOnce);
      memory.bytes.set(some, staged);
      pack(staged, some.length / rowBytes, firstRow + begin / rowBytes);
    }
  });
}
