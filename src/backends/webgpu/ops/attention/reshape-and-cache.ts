import { checkCacheSlots, type ReshapeAndCacheArgs } from '../../../contract/attention.ts';
import type { GpuIndices, GpuTensor } from '../../device/gpu-tensor.ts';
import { elementGrid, place } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Calls } from '../calls.ts';

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

export function reshapeAndCache(calls: Calls, args: ReshapeAndCacheArgs): void {
  const keyCache = calls.floats(args.keyCache, 'keyCache', [null, null, null, null]);
  const valueCache = calls.floats(args.valueCache, 'valueCache', keyCache.shape);
  const [blocks, blockSize, H, D] = keyCache.shape;
  const key = calls.floats(args.key, 'key', [null, H * D]);
  const value = calls.floats(args.value, 'value', [key.shape[0], H * D]);
  const places = calls.indices(args.slotMapping, 'slotMapping', key.shape[0]);
  checkCacheSlots(places.data, blocks * blockSize);
  if (key.isEmpty) return;
  calls.enqueue(CACHE_ROWS, { x: key, places, blockSize, out: keyCache });
  calls.enqueue(CACHE_ROWS, { x: value, places, blockSize, out: valueCache });
}
