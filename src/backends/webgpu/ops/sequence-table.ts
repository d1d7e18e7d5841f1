import type { GpuIndices } from '../device/gpu-tensor.ts';
import { CHUNK, type SequenceTable } from '../graph/operation.ts';

/** What kernels over packed sequences look up: see {@link SequenceTable}. */
export function makeSequenceTable(
  starts: Int32Array,
  slots: Int32Array,
  hasInitialState: Int32Array | undefined,
  makeIndices: (values: Int32Array) => GpuIndices,
): SequenceTable {
  const count = starts.length - 1;
  const rows = starts[count];
  const chunksOf = Array.from({ length: count }, (_, b) => Math.ceil((starts[b + 1] - starts[b]) / CHUNK));
  const chunks = chunksOf.reduce((sum, n) => sum + n, 0);
  const chunks0 = 4 * count + rows;
  const ranges0 = chunks0 + 4 * chunks;
  const table = new Int32Array(ranges0 + 2 * count);
  let chunk = 0;
  let longest = 0;
  for (let b = 0; b < count; b++) {
    const [begin, end] = [starts[b], starts[b + 1]];
    longest = Math.max(longest, end - begin);
    table.set([begin, end, slots[b], hasInitialState?.[b] ? 1 : 0], 4 * b);
    table.fill(b, 4 * count + begin, 4 * count + end);
    table.set([chunk, chunksOf[b]], ranges0 + 2 * b);
    for (let t = begin; t < end; t += CHUNK) {
      table.set([t, Math.min(t + CHUNK, end), b, 0], chunks0 + 4 * chunk);
      chunk++;
    }
  }
  return { count, rows, chunks, chunks0, ranges0, longest, table: makeIndices(table) };
}
