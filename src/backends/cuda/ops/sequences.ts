import { checkQueryStartLoc, checkSlots, slotsOrDefault } from '../../contract/sequences.ts';
import type { ChunkScanArgs } from '../../contract/state-space.ts';
import type { CudaCalls } from '../device/cuda-calls.ts';

/** Packed sequences as kernels take them. */
interface Sequences {
  readonly count: number;
  readonly starts: number;
  readonly slots: number | undefined;
  readonly hasInitialState: number | undefined;
}

/** The sequences of a call, checked. @throws MetadataError, ShapeError, ArgumentError */
export function checkSequences(
  calls: CudaCalls,
  args: Pick<ChunkScanArgs, 'queryStartLoc' | 'cacheIndices' | 'hasInitialState'>,
  rows: number,
  slotCount: number,
): Sequences {
  const starts = calls.indices(args.queryStartLoc, 'queryStartLoc', null);
  const count = checkQueryStartLoc(starts, rows).length - 1;
  const slots = args.cacheIndices && calls.indices(args.cacheIndices, 'cacheIndices', count);
  checkSlots(slotsOrDefault(slots, 'cacheIndices', count), slotCount, 'cacheIndices');
  const hasInitialState = args.hasInitialState && calls.indices(args.hasInitialState, 'hasInitialState', count);
  return { count, starts: starts.address, slots: slots?.address, hasInitialState: hasInitialState?.address };
}
