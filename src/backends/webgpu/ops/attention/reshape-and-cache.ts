import { checkCacheSlots, type ReshapeAndCacheArgs } from '../../../contract/attention.ts';
import type { GpuIndices, GpuTensor } from '../../device/gpu-tensor.ts';
import { elementGrid, place } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Calls } from '../calls.ts';

/** Puts keys, or values, in their places; `out` is the cache, updated in place. */
const CACHE_ROWS = defineOperation<{ readonly x: GpuTensor; readonly places: GpuIndices; readonly out: GpuTensor }>({
  name: 'cacheRows',
  lower: (lowering, { x, places, out }) => {
    const [T, C] = x.shape;
    lowering.dispatch('cache-rows', {
      bindings: { x: x.storage, places: places.storage, cache: out.storage },
      params: { T, C, blockSize: out.shape[1], ...place('x', x), ...place('cache', out) },
      workgroups: elementGrid(C, T),
    });
  },
});

export function reshapeAndCache(calls: Calls, args: ReshapeAndCacheArgs): void {
  const keyCache = calls.floats(args.keyCache, 'keyCache', [null, null, null, null]);
  const valueCache = calls.floats(args.valueCache, 'valueCache', keyCache.shape);
  const [blocks, blockSize, H, D] = keyCache.shape;
  const key = calls.floats(args.key, 'key', [null, H * D]);
  const value = calls.floats(args.value, 'value', [key.shape[0], H * D]);
  const places = calls.indices(args.slotMapping, 'slotMapping', key.shape[0]);
  checkCacheSlots(places.data, blocks * blockSize);
  if (key.isEmpty) return;
  calls.enqueue(CACHE_ROWS, { x: key, places, out: keyCache });
  calls.enqueue(CACHE_ROWS, { x: value, places, out: valueCache });
}
