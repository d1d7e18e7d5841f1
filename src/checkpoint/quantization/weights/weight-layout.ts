/** How a quantised matrix lies in its file: what its codes are, and which of them share a scale. */
export interface WeightLayout {
  /** Method and scheme as reports name them: `ModelOpt NVFP4`, `GPTQ int4`. */
  readonly format: string;
  /** What a code stands for before it is scaled. */
  readonly code: 'E4M3' | 'E5M2' | 'E2M1' | 'int' | 'uint' | 'NF4' | 'FP4';
  /** Bits of a code. */
  readonly bits: number;
  /** Consecutive rows of one scale; Infinity: all of the matrix. */
  readonly rowsPerScale: number;
  /** Consecutive columns of one scale; Infinity: all of a row. */
  readonly columnsPerScale: number;
  /** What a scale is stored as: F32, BF16, F8_E4M3, E8M0; and what multiplies all scales of a matrix, if anything does. */
  readonly scale: string;
  /** What lies between code and product: a whole number that is subtracted first, or a float that is added after. */
  readonly offset: 'none' | 'zero point' | 'bias';
  /** Columns were sorted before they were grouped: the group of each is in a list (`g_idx`). */
  readonly isReordered: boolean;
  /**
   * Order in the file. `rows`: one row of outputs after another, so that some rows can be read alone. `columns`: all
   * outputs of some inputs together.
   */
  readonly order: 'rows' | 'columns';
}

/** What scales cover, in words: `128x128`, `groups of 64`, `a scale a row`, `one scale`. */
export function scaleCoverage({ rowsPerScale, columnsPerScale }: WeightLayout): string {
  if (columnsPerScale === Infinity) return rowsPerScale === Infinity ? 'one scale' : 'a scale a row';
  return rowsPerScale === 1 ? `groups of ${columnsPerScale}` : `${rowsPerScale}x${columnsPerScale}`;
}
