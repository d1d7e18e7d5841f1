/** A rank's place among those of one group. Plain data, which one process makes for all ranks. */
export interface NcclPlace {
  /** What NcclLibrary.uniqueId gave. */
  readonly id: Uint8Array;
  readonly rank: number;
  readonly size: number;
  /** Number of the rank's GPU, among those that its process sees. */
  readonly gpu: number;
}

/** What a rank does to join its group: `joining` before it waits for the others, `joined` when all are there. */
export type JoinState = 'joining' | 'joined';
