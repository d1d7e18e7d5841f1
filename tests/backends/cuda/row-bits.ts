import { assert, describe, test } from 'vitest';
import { BLOCK_FORMATS } from '../../../src/tensor/block-formats.ts';
import { SeededRandom } from '../../layers/seeded.ts';
import { someBlocks } from '../../tensor/blocks.ts';
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

    test.each(['Q4_K', 'Q6_K'] as const)('%s', async (format) => {
      const made = backend();
      const columns = 3 * BLOCK_FORMATS[format].rowMultiple;
      const writer = made.blockWeightWriter?.(outputs, columns, format);
      assert(writer !== undefined, 'the backend keeps no blocks');
      writer.writeBlocks(0, someBlocks(format, outputs, columns, 1));
      const weight = writer.finish();
      const most = rows[rows.length - 1];
      const x = made.tensor(new SeededRandom(1).floats(most * columns), [most, columns]);
      const expected = await made.read(made.linear(x, weight));
      for (const T of rows) {
        const y = await made.read(made.linear(made.sliceRows(x, 0, T), weight));
        expectSame(y, expected.subarray(0, T * outputs), `${T} rows`);
      }
    });
  });
}
