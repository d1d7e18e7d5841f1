/**
 * Layout of kernels on a device. Every value gives the same results; which is fastest depends on the device. The
 * data files of this folder hold what was measured, default.ts what runs everywhere.
 */
export interface LaunchParameters {
  /** linear-vector: the first entry that fits. None: other kernels. */
  readonly vector: readonly VectorLaunch[];
  /** linear-matrix-few: the first entry that fits. None: linear-matrix from the first row on. */
  readonly matrixFew: readonly MatrixFewShape[];
  /** linear-matrix-few if several workgroups share the inputs: the first entry that fits. None: see slicedMatrix. */
  readonly slicedFew: readonly (MatrixFewShape & Sliced)[];
  /**
   * linear-matrix for rows that it normalises itself: the first entry that fits. None: another kernel normalises them.
   */
  readonly matrixNormalising: readonly NormalisingMatrixShape[];
  /** linear-matrix: the first entry that makes enough workgroups, or the last. */
  readonly matrix: readonly MatrixShape[];
  /** linear-matrix if several workgroups share the inputs: the first entry that fits. None: they don't. */
  readonly slicedMatrix: readonly (MatrixShape & Sliced)[];
  /** Rows from which on the convolution is a dispatch of its own, rather than the in-projection's. */
  readonly convolvedApartFrom: number;
  /** Rows from which on an invocation of that dispatch convolves four, with the same weights. */
  readonly convolvedTogetherFrom: number;
  /** state-update-gate: the first entry that fits. */
  readonly stateUpdate: readonly UpdateShape[];
  /** state-update-gate with states of 16 bits: the first entry that fits. */
  readonly shortStateUpdate: readonly ShortUpdateShape[];
  /** Tokens of a sequence from which on the scan works in chunks. */
  readonly chunkedScanFrom: number;
}

/** The layers that an entry is for. */
export interface LayerSizes {
  readonly minOutputs: number;
  readonly maxOutputs: number;
  readonly minInputs: number;
}

export interface VectorLaunch extends LayerSizes {
  /** Rows that it takes together, at most. */
  readonly maxRows: number;
  /** Rows of W in a patch of 32 invocations: a divisor of 32. */
  readonly rows: number;
  /** Patches one below the other that share their inputs, at most: a power of two. */
  readonly blocking: number;
  /** Groups of 32 invocations that keep the device busy. */
  readonly busy: number;
  readonly maxParts: number;
  /** Patches that are loaded together, at most. */
  readonly ahead: number;
}

export interface MatrixFewShape extends LayerSizes {
  readonly maxRows: number;
  /** Panels of 16 outputs in a workgroup. */
  readonly panels: number;
  /** Subgroups that share the inputs. */
  readonly parts: number;
  /** Tiles of weights that are loaded together, at most. */
  readonly ahead: number;
}

export interface MatrixShape {
  readonly maxRows: number;
  readonly minWorkgroups: number;
  /** Outputs of a workgroup: rows and columns. */
  readonly block: readonly [rows: number, columns: number];
  /** Inputs at a time. */
  readonly depth: number;
  /** Outputs of a subgroup. */
  readonly piece: readonly [rows: number, columns: number];
  /** Rows of blocks that are worked on side by side. */
  readonly band: number;
  /** Parts of the inputs that are summed up side by side, at most. */
  readonly split: number;
  /** Blocks that are on their way while one is multiplied. */
  readonly stages: number;
}

export interface NormalisingMatrixShape extends MatrixShape {
  readonly maxInputs: number;
}

export interface UpdateShape {
  readonly maxRows: number;
  /** Channels that an invocation updates, one after another. */
  readonly channels: number;
  readonly threads: number;
  /** The next layer's weights are read ahead if they are no larger than this. */
  readonly prefetchedBytes: number;
}

export interface ShortUpdateShape extends UpdateShape {
  /** States of a channel that an invocation loads at once, divided by four. */
  readonly fours: 1 | 2;
}

export interface Sliced {
  /** Workgroups that share the inputs of the same outputs. */
  readonly slices: number;
}
