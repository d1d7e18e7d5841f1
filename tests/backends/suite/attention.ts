import { describe, expect, test } from 'vitest';
import { PAD_CACHE_SLOT } from '../../../src/backends/contract/attention.ts';
import { ArgumentError, MetadataError, ShapeError } from '../../../src/errors.ts';
import * as oracle from '../oracle/attention.ts';
import {
  type Demands,
  expectClose,
  expectSame,
  indices,
  type MakeBackend,
  stridedView,
  useBackend,
} from './harness.ts';
import { Inputs } from './inputs.ts';
import { Cache, expectSameInParts, fill, type HeadSizes, makeSequences, SCALE, type Sequence } from './paged-cache.ts';

const SIZES: readonly HeadSizes[] = [
  { heads: 4, kvHeads: 2, headDim: 16 },
  { heads: 6, kvHeads: 1, headDim: 32 },
  { heads: 3, kvHeads: 3, headDim: 80 },
  { heads: 12, kvHeads: 4, headDim: 64 },
  { heads: 2, kvHeads: 1, headDim: 128 },
  { heads: 2, kvHeads: 2, headDim: 256 },
];

/** Tests rotary embeddings, the paged cache and attention over it. */
export function describeAttention(makeBackend: MakeBackend, demands: Demands): void {
  describe('attention', () => {
    const backend = useBackend(makeBackend);
    const tolerance = demands.tolerances.dense;

    test.each([
      { headDim: 16, rotated: 16, heads: 3 },
      { headDim: 16, rotated: 8, heads: 2 },
      { headDim: 128, rotated: 64, heads: 4 },
      { headDim: 6, rotated: 2, heads: 5 },
      { headDim: 8, rotated: 0, heads: 1 },
    ])('rotary embedding of $rotated of $headDim columns', async ({ headDim, rotated, heads }) => {
      const positions = [0, 1, 7, 4095, 100000, 1];
      const C = heads * headDim;
      const frequencies = Float32Array.from({ length: rotated / 2 }, (_, i) => 10000 ** ((-2 * i) / rotated));
      const x = new Inputs(headDim).normal(positions.length * C);
      const expected = oracle.rotate(x, C, headDim, positions, [...frequencies]);
      const table = backend().rotaryTable(
        indices(backend(), positions),
        backend().tensor(frequencies, [frequencies.length]),
        1,
      );
      expect(table.shape).toEqual([positions.length, rotated]);
      for (const rows of [backend().tensor(x, [positions.length, C]), stridedView(backend(), x, positions.length, C)]) {
        const y = backend().rotaryEmbedding(rows, table, headDim);
        expectClose(await backend().read(y), expected, { ...tolerance, absolute: 4 * tolerance.absolute }, 'rotated');
      }
    });

    test("a table's scale multiplies cosines and sines", async () => {
      const frequencies = backend().tensor(Float32Array.of(1, 0.5), [2]);
      const table = backend().rotaryTable(indices(backend(), [3]), frequencies, 2);
      const expected = [3, 1.5].map(Math.cos).concat([3, 1.5].map(Math.sin));
      expectClose(
        await backend().read(table),
        expected.map((value) => 2 * value),
        tolerance,
        'table',
      );
    });

    test.each(SIZES)('whole prompts, $heads heads over $kvHeads of $headDim', async (sizes) => {
      const sequences = makeSequences(sizes, [1, 5, 37]);
      const cache = new Cache(backend(), sizes, sequences, { blockSize: 8, seed: 1 });
      const outputs = await cache.step(sequences.map(({ length }) => [0, length]));
      for (const [s, { query, keys, values }] of sequences.entries()) {
        const expected = oracle.attention({ ...sizes, scale: SCALE, query, keys, values });
        expectClose(outputs[s], expected, tolerance, `sequence ${s}`);
      }
    });

    test.each(SIZES)('any split and mixture gives the same, $heads heads over $kvHeads of $headDim', async (sizes) => {
      await expectSameInParts(backend(), demands, sizes, {
        lengths: [9, 20, 3, 33],
        blockSizes: [16, 4],
        mostTokens: 9,
      });
    });

    test.each([
      { heads: 6, kvHeads: 2, headDim: 64 },
      { heads: 5, kvHeads: 5, headDim: 20 },
      { heads: 2, kvHeads: 1, headDim: 72 },
    ])('so do long contexts, $heads heads over $kvHeads of $headDim', async (sizes) => {
      await expectSameInParts(backend(), demands, sizes, {
        lengths: [150, 64, 97],
        blockSizes: [64, 32],
        mostTokens: 50,
      });
    });

    const WINDOWS = [1, 5, 31, 32, 33, 66, 1e12];

    test.each(WINDOWS)('any split and mixture gives the same in a window of %d keys', async (slidingWindow) => {
      const parts = { blockSizes: [64, 12], mostTokens: 40, slidingWindow } as const;
      await expectSameInParts(
        backend(),
        demands,
        { heads: 6, kvHeads: 2, headDim: 16 },
        { ...parts, lengths: [130, 9, 71] },
      );
      await expectSameInParts(backend(), demands, { heads: 2, kvHeads: 2, headDim: 20 }, { ...parts, lengths: [99] });
    });

    test('keys before a window are not read', async () => {
      const sizes = { heads: 4, kvHeads: 2, headDim: 32 };
      for (const slidingWindow of [1, 5, 30, 40]) {
        const [sequence] = makeSequences(sizes, [90]);
        const unread = (90 - slidingWindow) * sizes.kvHeads * sizes.headDim;
        const keys = sequence.keys.slice().fill(Number.NaN, 0, unread);
        const values = sequence.values.slice().fill(Number.NaN, 0, unread);
        const lastOf = async (one: Sequence) => {
          const cache = new Cache(backend(), sizes, [one], { blockSize: 32, seed: 7, slidingWindow });
          await cache.step([[0, 89]]);
          return (await cache.step([[89, 90]]))[0];
        };
        expectSame(await lastOf({ ...sequence, keys, values }), await lastOf(sequence), `window ${slidingWindow}`);
      }
    });

    test('padding: rows of no place write nothing, and sequences of no context give zeros', async () => {
      const shape = [2, 4, 1, 8];
      const before = new Inputs(4).normal(64);
      const [keyCache, valueCache] = [backend().tensor(before, shape), backend().tensor(before, shape)];
      const rows = new Inputs(5).normal(3 * 8);
      const x = backend().tensor(rows, [3, 8]);
      const slotMapping = indices(backend(), [PAD_CACHE_SLOT, 5, PAD_CACHE_SLOT]);
      backend().reshapeAndCache({ key: x, value: x, keyCache, valueCache, slotMapping });
      const after = before.slice();
      after.set(rows.subarray(8, 16), 5 * 8);
      expectSame(await backend().read(keyCache), after, 'keys');
      expectSame(await backend().read(valueCache), after, 'values');
      const out = backend().pagedAttention({
        query: x,
        keyCache,
        valueCache,
        queryStartLoc: indices(backend(), [0, 1, 2, 3]),
        contextLens: indices(backend(), [0, 6, 0]),
        blockTables: indices(backend(), [0, 0, 0, 1, 0, 0]),
        scale: 1,
      });
      const values = await backend().read(out);
      expectSame(values.slice(0, 8), new Float32Array(8), 'first');
      expectSame(values.slice(16), new Float32Array(8), 'last');
      expect(values.slice(8, 16).every((value) => value !== 0)).toBe(true);
    });

    test('large scores do not overflow, and one visible key gives its value', async () => {
      const sizes = { heads: 1, kvHeads: 1, headDim: 4 };
      const huge = {
        length: 2,
        query: fill(8, 1e18),
        keys: fill(8, 1e18),
        values: Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8),
      };
      const cache = new Cache(backend(), sizes, [huge], { blockSize: 2, seed: 4 });
      const [output] = await cache.step([[0, 2]]);
      expectClose(output, [1, 2, 3, 4, 3, 4, 5, 6], tolerance, 'output');
    });

    test('what breaks the contract is refused', () => {
      const x = backend().zeros([2, 8]);
      const caches = { keyCache: backend().zeros([2, 4, 1, 8]), valueCache: backend().zeros([2, 4, 1, 8]) };
      const write = (slots: number[]) => () =>
        backend().reshapeAndCache({ key: x, value: x, ...caches, slotMapping: indices(backend(), slots) });
      expect(write([0, 8])).toThrow(MetadataError);
      expect(write([-2, 0])).toThrow(MetadataError);
      expect(write([3, 3])).toThrow(MetadataError);
      expect(write([3])).toThrow(ShapeError);
      const attend =
        (contextLens: number[], blockTables: number[], queryStartLoc = [0, 2], slidingWindow?: number) =>
        () =>
          backend().pagedAttention({
            query: x,
            ...caches,
            ...{ scale: 1, slidingWindow },
            queryStartLoc: indices(backend(), queryStartLoc),
            contextLens: indices(backend(), contextLens),
            blockTables: indices(backend(), blockTables),
          });
      expect(attend([2], [0])).not.toThrow();
      expect(attend([1], [0])).toThrow(MetadataError);
      expect(attend([5], [0])).toThrow(MetadataError);
      expect(attend([5], [0, 2])).toThrow(MetadataError);
      expect(attend([2], [-1])).toThrow(MetadataError);
      expect(attend([2], [0], [0, 1])).toThrow(MetadataError);
      expect(attend([2, 2], [0, 0], [0, 2])).toThrow(ShapeError);
      for (const window of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
        expect(attend([2], [0], [0, 2], window)).toThrow(ArgumentError);
      }
      const table = backend().zeros([2, 6]);
      expect(() => backend().rotaryEmbedding(x, table, 4)).toThrow(ArgumentError);
      expect(() => backend().rotaryEmbedding(x, table, 3)).toThrow(ArgumentError);
      expect(() => backend().rotaryEmbedding(x, backend().zeros([1, 4]), 4)).toThrow(ShapeError);
    });

    test('no rows', () => {
      const none = indices(backend(), []);
      const x = backend().zeros([0, 8]);
      const caches = { keyCache: backend().zeros([2, 4, 1, 8]), valueCache: backend().zeros([2, 4, 1, 8]) };
      backend().reshapeAndCache({ key: x, value: x, ...caches, slotMapping: none });
      const sequences = { queryStartLoc: indices(backend(), [0]), contextLens: none, blockTables: none };
      expect(backend().pagedAttention({ query: x, ...caches, ...sequences, scale: 1 }).shape).toEqual([0, 8]);
      const table = backend().rotaryTable(none, backend().zeros([2]), 1);
      expect(table.shape).toEqual([0, 4]);
      expect(backend().rotaryEmbedding(x, table, 4).shape).toEqual([0, 8]);
    });
  });
}
