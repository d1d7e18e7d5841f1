import { ArgumentError } from '../../errors.ts';

/** A range of rows of the first dimension. */
export interface RowRange {
  /** 0 when absent. */
  readonly firstRow?: number | undefined;
  /** All rows from `firstRow` on when absent. */
  readonly rows?: number | undefined;
}

/** Bytes of some rows of a tensor whose data lie at [begin, end). A tensor without dimensions has one row. */
export function bytesOfRows(
  {
    name,
    shape,
    begin,
    end,
  }: {
    readonly name: string;
    readonly shape: readonly number[];
    readonly begin: number;
    readonly end: number;
  },
  range: RowRange,
): { readonly offset: number; readonly length: number } {
  const [rowCount = 1] = shape;
  const { firstRow, rows } = resolveRows(name, shape, range);
  const rowBytes = rowCount === 0 ? 0 : (end - begin) / rowCount;
  return { offset: begin + firstRow * rowBytes, length: rows * rowBytes };
}

/**
 * The rows that a range names.
 * @throws ArgumentError when they are not in the tensor.
 */
export function resolveRows(
  name: string,
  shape: readonly number[],
  range: RowRange,
): { firstRow: number; rows: number } {
  const [rowCount = 1] = shape;
  const { firstRow = 0 } = range;
  const { rows = rowCount - firstRow } = range;
  const areWhole = Number.isSafeInteger(firstRow) && Number.isSafeInteger(rows);
  if (!areWhole || firstRow < 0 || rows < 0 || firstRow + rows > rowCount) {
    throw new ArgumentError(
      `Can't read ${rows} rows from row ${firstRow} of '${name}', which has the shape [${shape}].`,
    );
  }
  return { firstRow, rows };
}
