/** Bytes of a piece of cuda/near.cuh, and of shared memory that a kernel of formats of blocks declares besides. */
const PIECE_BYTES = 16;
const DECLARED_BYTES = 23_040;

/** Rows of weights that a block copies to shared memory. */
export interface NearRows {
  /** Pieces that each of them takes there; 0: they stay where they are. */
  readonly nearPieces: number;
  readonly nearBytes: number;
}

/**
 * The rows of so many outputs, if there is room for them: see cuda/near.cuh.
 * @param rowBytes of a row of weights.
 * @param usedBytes of the block's shared memory that the launch asks for besides.
 * @param mostShared bytes that a block may have.
 */
export function nearRows(outputs: number, rowBytes: number, usedBytes: number, mostShared: number): NearRows {
  // A row may begin and end within a piece. Odd numbers of pieces lie apart in their banks.
  const nearPieces = Math.ceil((rowBytes + PIECE_BYTES - 1) / PIECE_BYTES) | 1;
  const nearBytes = outputs * PIECE_BYTES * nearPieces;
  const fits = usedBytes + nearBytes + DECLARED_BYTES <= mostShared;
  return fits ? { nearPieces, nearBytes } : { nearPieces: 0, nearBytes: 0 };
}
