/** Computes out = arrays[0] + arrays[1] + ..., in that order. `out` holds `arrays[rank]`. */
export type AddArrays = (arrays: readonly Float32Array[], out: Float32Array, rank: number) => void;

/**
 * The ranks that share one model, seen from one of them. Collectives are synchronous: every rank calls them in the same
 * order with arrays of the same length, and returns when its own result is there. Sums run in rank order, so that a
 * run is repeatable and all ranks hold the same bits.
 */
export interface ProcessGroup {
  readonly rank: number;
  readonly size: number;
  /** The group whose ranks all take part in the exchanges of this one, where this is a part of it. */
  readonly whole?: ProcessGroup;

  /**
   * Replaces each array by its sum over all ranks. Arrays that are passed together take one exchange.
   * @param add how to sum, for callers that know a quicker way than a loop.
   */
  allReduce(data: readonly Float32Array[], add?: AddArrays): void;

  /** Writes every rank's arrays to `out`: rank r's array i to out[r][i]. */
  allGather(data: readonly Float32Array[], out: readonly (readonly Float32Array[])[]): void;

  /** Begins anew after a rank has failed and all have stopped: see `resetGroup`. */
  reset?(): void;

  /** Replaces `data` by the array of rank `source`. */
  broadcast(data: Float32Array, source: number): void;
}

/** The group of one rank: nothing to exchange. */
export const singleProcess: ProcessGroup = {
  rank: 0,
  size: 1,
  allReduce: () => {},
  allGather: (data, [out]) => {
    data.forEach((array, i) => {
      out[i].set(array);
    });
  },
  broadcast: () => {},
};
