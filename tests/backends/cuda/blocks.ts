import { assert, describe, test } from 'vitest';
import { BLOCK_FORMATS, type BlockFormat, isBlockFormat } from '../../../src/tensor/block-formats.ts';
import { SeededRandom } from '../../layers/seeded.ts';
import { blockValues, someBlocks } from '../../tensor/blocks.ts';
import { expectClose, expectSame, indices, type MakeBackend, useBackend } from '../suite/harness.ts';

/** Rows of products, of which each takes another kernel. */
const ROWS = [1, 11];
const OUTPUTS = 21;

/** Tests that weights in blocks are worth what their formats say. */
export function describeBlocks(makeBackend: MakeBackend): void {
  describe('weights in blocks', () => {
    const backend = useBackend(makeBackend);

    test.each(Object.keys(BLOCK_FORMATS).filter(isBlockFormat))('%s', async (format: BlockFormat) => {
      const made = backend();
      const K = 3 * BLOCK_FORMATS[format].rowMultiple;
      const bytes = someBlocks(format, OUTPUTS, K, K);
      const values = blockValues(format, bytes);
      const writer = made.blockWeightWriter?.(OUTPUTS, K, format);
      assert(writer !== undefined, 'the backend keeps no blocks');
      writer.writeBlocks(0, bytes);
      const weight = writer.finish();
      const rows = made.embedding(indices(made, [...Array(OUTPUTS).keys(), OUTPUTS]), weight);
      const known = [...values, ...new Float32Array(K)].map((value) => value + 0);
      expectSame(
        Array.from(await made.read(rows), (value) => value + 0),
        known,
        'rows',
      );
      for (const T of ROWS) {
        const x = new SeededRandom(T).floats(T * K);
        const expected = Array.from({ length: T * OUTPUTS }, (_, i) => {
          const [t, o] = [Math.floor(i / OUTPUTS), i % OUTPUTS];
          let sum = 0;
          for (let k = 0; k < K; k++) sum += x[t * K + k] * values[o * K + k];
          return sum;
        });
        const y = await made.read(made.linear(made.tensor(x, [T, K]), weight));
        expectClose(y, expected, { relative: 1e-5, absolute: 1e-4 }, `${T} rows`);
      }
    });
  });
}
