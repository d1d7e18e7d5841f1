import { afterAll, describe, expect, test } from 'vitest';
import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import { singleProcess } from '../../src/distributed/process-group.ts';
import { ShardingError } from '../../src/errors.ts';
import { ColumnParallelLinear, RowParallelLinear } from '../../src/layers/linear/linear.ts';
import { LayerContext } from '../../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../../src/layers/parameters/parameter.ts';
import { QUANT_BLOCK } from '../../src/tensor/quantize.ts';
import { RankPool } from '../distributed/run-ranks.ts';
import { runColumnParallel, runRowParallel, runTiedVocabulary } from './layers-on-ranks.ts';
import { seededWeights } from './mixer-case.ts';
import { affine } from './mixer-oracle.ts';
import { bits, largestError, SeededRandom, sideBySide } from './seeded.ts';

const pool = new RankPool<typeof import('./layers-on-ranks.ts')>(new URL('./layers-on-ranks.ts', import.meta.url));
afterAll(() => pool.close());

const RANKS = [2, 3, 4, 6];
const OPTIONS = { bias: true, prefix: 'linear' };

function contextOf(size: number): LayerContext {
  return new LayerContext(new ReferenceBackend(), { ...singleProcess, size }, 'float32');
}

describe.each([true, false])('linear layers, bias %s', (bias) => {
  const input = { inputSize: 24, outputSize: 36, bias, rows: 5, seed: 3 };

  test('on one rank equal the float64 product', async () => {
    const shapes = bias
      ? ([
          ['weight', [36, 24]],
          ['bias', [36]],
        ] as const)
      : ([['weight', [36, 24]]] as const);
    const weights = seededWeights(shapes, input.seed);
    const x = new SeededRandom(input.seed + 1).floats(5 * 24);
    const rows = Array.from({ length: 5 }, (_, t) => Float64Array.from(x.subarray(t * 24, (t + 1) * 24)));
    const expected = affine(rows, weights.weight, weights.bias).flatMap((row) => [...row]);
    expect(largestError(await runColumnParallel(singleProcess, input), expected)).toBeLessThan(1e-6);
    expect(largestError(await runRowParallel(singleProcess, input), expected)).toBeLessThan(1e-6);
  });

  test.each(RANKS)('columns of %i ranks side by side are the bits of one rank', async (ranks) => {
    const parts = await pool.run('runColumnParallel', ranks, input);
    expect(bits(sideBySide(parts, input.rows))).toEqual(bits(await runColumnParallel(singleProcess, input)));
  });

  test.each(RANKS)(
    'rows of %i ranks sum to those of one rank, with the bias once and the same bits on all',
    async (ranks) => {
      const results = await pool.run('runRowParallel', ranks, input);
      const single = await runRowParallel(singleProcess, input);
      for (const result of results) {
        expect(largestError(result, single)).toBeLessThan(1e-6);
        expect(bits(result)).toEqual(bits(results[0]));
      }
    },
  );

  test.each(['int8', 'int4'] as const)('%s shards of whole blocks equal one rank', async (quant) => {
    const wide = { ...input, inputSize: 6 * QUANT_BLOCK, quant };
    for (const ranks of [2, 3, 6]) {
      const columns = sideBySide(await pool.run('runColumnParallel', ranks, wide), wide.rows);
      expect(bits(columns)).toEqual(bits(await runColumnParallel(singleProcess, wide)));
      const [rows] = await pool.run('runRowParallel', ranks, wide);
      expect(largestError(rows, await runRowParallel(singleProcess, wide))).toBeLessThan(1e-6);
    }
  });
});

describe('linear layers that ranks do not divide', () => {
  test('are refused with ShardingError, columns and rows alike', () => {
    expect(() => new ColumnParallelLinear(contextOf(4), 8, 6, OPTIONS)).toThrow(ShardingError);
    expect(() => new ParameterTable(new RowParallelLinear(contextOf(4), 6, 8, OPTIONS))).toThrow(ShardingError);
  });

  test('name the layer', () => {
    expect(() => new ColumnParallelLinear(contextOf(4), 8, 6, { bias: true, prefix: 'mixer.in_proj' })).toThrow(
      'mixer.in_proj',
    );
  });
});

describe.each([
  [12, 'divisible by all'],
  [17, 'divisible by none'],
  [9, 'so small that the last ranks hold padding only'],
])('VocabParallelEmbedding of %i ids, %s', (vocabSize) => {
  // First and last id, and every boundary between ranks.
  const input = { vocabSize, hiddenSize: 5, ids: [...Array(vocabSize).keys(), 0, vocabSize - 1], seed: 4 };

  test('embeds ids as the rows of the table, and its logits are the products with all rows', async () => {
    const table = seededWeights([['weight', [vocabSize, 5]]], 4).weight;
    const { embedded, logits } = await runTiedVocabulary(singleProcess, input);
    expect(bits(embedded.slice(0, table.length))).toEqual(bits(table));
    const rows = input.ids.map((id) => Float64Array.from(table.subarray(id * 5, (id + 1) * 5)));
    const expected = affine(rows, table, undefined).flatMap((row) => [...row]);
    expect(logits).toHaveLength(input.ids.length * vocabSize);
    expect(largestError(logits, expected)).toBeLessThan(1e-6);
  });

  test.each([2, 3, 4, 5, 8])('is the same bits on %i ranks as on one, tied', async (ranks) => {
    const single = await runTiedVocabulary(singleProcess, input);
    for (const { embedded, logits } of await pool.run('runTiedVocabulary', ranks, input)) {
      // Sums with zeros of other ranks lose the sign of a zero.
      expect(largestError(embedded, single.embedded)).toBe(0);
      expect(bits(logits)).toEqual(bits(single.logits));
    }
  });

  test.each(['int8', 'int4'] as const)('is the same bits on ranks with %s rows', async (quant) => {
    const quantised = { ...input, hiddenSize: 40, quant };
    const single = await runTiedVocabulary(singleProcess, quantised);
    for (const { embedded, logits } of await pool.run('runTiedVocabulary', 3, quantised)) {
      // Sums with zeros of other ranks lose the sign of a zero.
      expect(largestError(embedded, single.embedded)).toBe(0);
      expect(bits(logits)).toEqual(bits(single.logits));
    }
  });
});
