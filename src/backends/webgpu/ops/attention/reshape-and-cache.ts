import type { ShortKvCacheDType } from '../../../../tensor/kv-cache-dtype.ts';
import { checkCacheSlots, type ReshapeAndCacheArgs } from '../../../contract/attention.ts';
import type { GpuIndices, GpuTensor } from '../../device/gpu-tensor.ts';
import { elementGrid, place } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Calls } from '../calls.ts';
import { cachesInWords } from './cache-words.ts';

/** Puts rows, such as keys or values, in their places; `out` has blocks of `blockSize` of them, and is updated in place. */
export const CACHE_ROWS = defineOperation<{
  readonly x: GpuTensor;
  readonly places: GpuIndices;
  readonly blockSize: number;
  readonly out: GpuTensor;
}>({
  name: 'cacheRows',
  lower: (lowering, { x, places, blockSize, out }) => {
    const [T, C] = x.shape;
    lowering.dispatch('cache-rows', {
      bindings: { x: x.storage, places: places.storage, cache: out.storage },
      params: { T, C, blockSize, ...place('x', x), ...place('cache', out) },
      workgroups: elementGrid(C, T),
    });
  },
});

/** Puts keys or values, rounded, in their places of a cache in words. */
const CACHE_WORDS = defineOperation<{
  readonly x: GpuTensor;
  readonly places: GpuIndices;
  readonly dtype: ShortKvCacheDType;
  /** (blocks, blockSize, H, D), in numbers. */
  readonly shape: readonly number[];
  readonly out: GpuTensor;
}>({
  name: 'cacheWords',
  lower: (lowering, { x, places, dtype, shape, out }) => {
    const [T] = x.shape;
    const [, blockSize, H, D] = shape;
    const C = out.rowSize / blockSize;
    lowering.dispatch('cache-words', {
      constants: { CACHE: dtype },
      bindings: { x: x.storage, places: places.storage, cache: out.storage },
      params: { T, C, wordsPerHead: C / H, D, blockSize, ...place('x', x), ...place('cache', out) },
      workgroups: elementGrid(C, T),
    });
  },
});

export function reshapeAndCache(calls: Calls, args: ReshapeAndCacheArgs): void {
  const { keyCache, valueCache, dtype, shape } = cachesInWords(calls, args);
  const [blocks, blockSize, H, D] = shape;
  const key = calls.floats(args.key, 'key', [null, H * D]);
  const value = calls.floats(args.value, 'value', [key.shape[0], H * D]);
  const places = calls.indices(args.slotMapping, 'slotMapping', key.shape[0]);
  checkCacheSlots(places.data, blocks * blockSize);
  if (key.isEmpty) return;
  for (const [x, out] of [
    [key, keyCache],
    [value, valueCache],
  ] as const) {
    if (dtype === 'float32') calls.enqueue(CACHE_ROWS, { x, places, blockSize, out });
    else calls.enqueue(CACHE_WORDS, { x, places, dtype, shape, out });
  }
}
