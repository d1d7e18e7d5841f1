import { describe, test } from 'vitest';
import { SeededRandom } from '../../layers/seeded.ts';
import { expectSame, type MakeBackend, useBackend } from '../suite/harness.ts';

interface Sizes {
  readonly inputs: number;
  readonly outputs: number;
  /** Numbers of rows, of which the largest comes last. */
  readonly rows: readonly number[];
}

/** Tests that a product's rows have the same bits for every number of rows, whichever kernel computes them. */
export function describeRowBits(makeBackend: MakeBackend, { inputs, outputs, rows }: Sizes): void {
  describe("a product's rows have the same bits", () => {
    const backend = useBackend(makeBackend);

    test.each(['float32', 'float16', 'bfloat16', 'int8', 'int4'] as const)('%s', async (dtype) => {
      const made = backend();
      const random = new SeededRandom(1);
      const weight = made.linearWeight(random.floats(outputs * inputs), outputs, inputs, dtype);
      const most = rows[rows.length - 1];
      const x = made.tensor(random.floats(most * inputs), [most, inputs]);
      const expected = await made.read(made.linear(x, weight));
      for (const T of rows) {
        const y = await made.read(made.linear(made.sliceRows(x, 0, T), weight));
        expectSame(y, expected.subarray(0, T * outputs), `${T} rows`);
      }
    });
  });
}
