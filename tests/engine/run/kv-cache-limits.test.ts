import { describe, expect, test } from 'vitest';
import { numKvBlocks } from '../../../src/engine/run/kv-cache-limits.ts';
import { ArgumentError } from '../../../src/errors.ts';

/** 1 KiB per token: 32 KiB per block. */
const SIZES = [{ numHeads: 4, numKvHeads: 2, headDim: 64 }];
const BLOCK_BYTES = 2 ** 15;

describe('blocks of the key-value cache', () => {
  test('are none without attention', () => {
    expect(numKvBlocks([], { slots: 16 })).toBe(0);
    expect(numKvBlocks([], { slots: 16, maxModelLen: 1e9, kvCacheMemoryBytes: 1 })).toBe(0);
  });

  test('hold usual sequences in all slots, or a long one, and one block more', () => {
    expect(numKvBlocks(SIZES, { slots: 16 })).toBe(1 + 16 * 128);
    expect(numKvBlocks(SIZES, { slots: 1 })).toBe(1 + 1024);
    expect(numKvBlocks(SIZES, { slots: 16, maxModelLen: 100 })).toBe(1 + 16 * 4);
    expect(numKvBlocks(SIZES, { slots: 2, maxModelLen: 100_000 })).toBe(1 + 3125);
  });

  test('take no more memory than is given: 1 GiB by default, unless one sequence needs more', () => {
    expect(numKvBlocks(SIZES, { slots: 1000 })).toBe(2 ** 30 / BLOCK_BYTES);
    expect(numKvBlocks(SIZES, { slots: 1, maxModelLen: 2 ** 21 })).toBe(1 + 2 ** 16);
    expect(numKvBlocks(SIZES, { slots: 1, kvCacheMemoryBytes: 7.5 * BLOCK_BYTES })).toBe(7);
    const limits = { slots: 1, maxModelLen: 65, kvCacheMemoryBytes: 3 * BLOCK_BYTES };
    expect(() => numKvBlocks(SIZES, limits)).toThrow(ArgumentError);
    expect(() => numKvBlocks(SIZES, limits)).toThrow(/needs 131072/);
    expect(numKvBlocks(SIZES, { ...limits, maxModelLen: 64 })).toBe(3);
    expect(numKvBlocks(SIZES, { ...limits, kvCacheDtype: 'bfloat16' })).toBe(6);
    expect(numKvBlocks(SIZES, { ...limits, kvCacheDtype: 'fp8_e4m3' })).toBe(12);
    // A head's row begins at a word.
    const odd = [{ numHeads: 1, numKvHeads: 1, headDim: 5 }];
    expect(numKvBlocks(odd, { slots: 1, kvCacheMemoryBytes: 32 * 2 * 8 * 7, kvCacheDtype: 'fp8_e4m3' })).toBe(7);
  });
});
