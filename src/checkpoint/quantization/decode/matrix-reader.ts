/** Reads rows of matrices that lie in a file in some other form than floats. */
export interface MatrixReader {
  /**
   * Fills `out` with rows of a matrix, row-major.
   * @param index of the matrix in a stack, else 0.
   */
  readRows(index: number, firstRow: number, rows: number, out: Float32Array): Promise<void>;
  /** Drops what was kept between reads. */
  release(): void;
}
