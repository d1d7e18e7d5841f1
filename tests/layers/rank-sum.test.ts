import { expect, test } from 'vitest';
import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import { type ProcessGroup, singleProcess } from '../../src/distributed/process-group.ts';
import { plainSum, sumOverRanks } from '../../src/layers/linear/rank-sum.ts';
import type { Tensor } from '../../src/tensor/tensor.ts';

const backend = new ReferenceBackend();
const column = (...values: number[]) => backend.tensor(Float32Array.from(values), [values.length, 1]);

/** Two ranks of which the other adds 100 to all; counts what is exchanged together. */
function pair(): ProcessGroup & { readonly exchanges: number[] } {
  const exchanges: number[] = [];
  return {
    ...singleProcess,
    size: 2,
    exchanges,
    allReduce: (arrays) => {
      exchanges.push(arrays.length);
      for (const array of arrays) for (let i = 0; i < array.length; i++) array[i] += 100;
    },
  };
}

test('parts of the same ranks take one exchange, and each finishes its own sums', async () => {
  const group = pair();
  const product = {
    group,
    summands: [column(1, 2), column(3)],
    finish: ([rows, factor]: readonly Tensor[]) => {
      expect([rows.shape, factor.shape]).toEqual([
        [2, 1],
        [1, 1],
      ]);
      return factor;
    },
  };
  const sums = sumOverRanks(backend, [plainSum(group, column(5)), product, plainSum(group, column(7, 8))]);
  expect(group.exchanges).toEqual([4]);
  expect(await Promise.all(sums.map((sum) => backend.read(sum)))).toEqual(
    [[105], [103], [107, 108]].map((values) => Float32Array.from(values)),
  );
});

test('parts of other ranks are exchanged apart, and outputs keep their order', async () => {
  const [first, second] = [pair(), pair()];
  const parts = [plainSum(first, column(1)), plainSum(second, column(2)), plainSum(first, column(3))];
  const sums = sumOverRanks(backend, parts);
  expect([first.exchanges, second.exchanges]).toEqual([[2], [1]]);
  expect((await Promise.all(sums.map((sum) => backend.read(sum)))).map(([value]) => value)).toEqual([101, 102, 103]);
});
