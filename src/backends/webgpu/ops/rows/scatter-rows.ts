import type { Tensor } from '../../../../tensor/tensor.ts';
import { checkDistinctRows } from '../../../contract/rows.ts';
import { CACHE_ROWS } from '../attention/reshape-and-cache.ts';
import type { Calls } from '../calls.ts';

export function scatterRows(calls: Calls, x: Tensor, rows: Tensor, into: Tensor): void {
  const out = calls.floats(into, 'into', [null, null]);
  const places = calls.indices(rows, 'rows', null);
  const [T, C] = out.shape;
  const from = calls.floats(x, 'x', [places.data.length, C]);
  checkDistinctRows(places.data, T);
  if (!from.isEmpty) calls.enqueue(CACHE_ROWS, { x: from, places, blockSize: 1, out });
}
