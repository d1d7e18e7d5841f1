import { ArgumentError, MetadataError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { ints } from './host-tensor.ts';

/** The slot of a row or sequence that only pads a batch: it reads zeros, writes no state, and its output means nothing. */
export const PAD_SLOT_ID = -1;

/** The slots of `count` rows or sequences; without a tensor, number b uses slot b. */
export function slotsOrDefault(slots: Tensor | undefined, name: string, count: number): Int32Array {
  return slots ? ints(slots, name, count) : Int32Array.from({ length: count }, (_, b) => b);
}

/** Every slot is in the cache or pads, and none is named twice: two sequences would overwrite each other's state. */
export function checkSlots(slots: Int32Array, slotCount: number, name: string): void {
  const used = new Set<number>();
  for (const slot of slots) {
    if (slot === PAD_SLOT_ID) continue;
    if (slot < 0 || slot >= slotCount) {
      throw new MetadataError(`${name} names slot ${slot} of a cache of ${slotCount}.`, `Pad with ${PAD_SLOT_ID}.`);
    }
    if (used.has(slot))
      throw new MetadataError(`${name} names slot ${slot} twice.`, 'Give each sequence its own slot.');
    used.add(slot);
  }
}

/** Row starts of packed sequences: from 0, never descending, to the number of rows. */
export function checkQueryStartLoc(queryStartLoc: Tensor, T: number): Int32Array {
  const starts = ints(queryStartLoc, 'queryStartLoc', null);
  const ascending = starts.every((start, b) => b === 0 || start >= starts[b - 1]);
  if (starts.length === 0 || starts[0] !== 0 || !ascending || starts[starts.length - 1] !== T) {
    throw new MetadataError(
      `queryStartLoc is [${Array.from(starts).join(', ')}] for ${T} rows.`,
      `It starts at 0, never descends and ends at ${T}.`,
    );
  }
  return starts;
}

/** Number of heads that share one group. */
export function headsPerGroup(H: number, G: number): number {
  if (G < 1 || H % G !== 0) {
    throw new ArgumentError(
      `${H} heads can't share ${G} groups evenly.`,
      'The number of heads is a multiple of the groups.',
    );
  }
  return H / G;
}
