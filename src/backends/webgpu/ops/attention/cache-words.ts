import type { KvCacheDType } from '../../../../tensor/kv-cache-dtype.ts';
import type { Tensor } from '../../../../tensor/tensor.ts';
import { checkCacheDTypes, type PagedAttentionArgs } from '../../../contract/attention.ts';
import { checkShape } from '../../../contract/shapes.ts';
import { GpuKvCache, type GpuTensor } from '../../device/gpu-tensor.ts';
import type { Calls } from '../calls.ts';

/** A layer's keys and values as words. */
export interface CachesInWords {
  readonly keyCache: GpuTensor;
  readonly valueCache: GpuTensor;
  readonly dtype: KvCacheDType;
  /** (blocks, blockSize, H, D), in numbers. */
  readonly shape: readonly number[];
}

/** @throws ShapeError, ArgumentError */
export function cachesInWords(calls: Calls, args: Pick<PagedAttentionArgs, 'keyCache' | 'valueCache'>): CachesInWords {
  const { keyCache, valueCache } = args;
  checkShape(keyCache, 'keyCache', [null, null, null, null]);
  const { shape } = keyCache;
  checkShape(valueCache, 'valueCache', shape);
  checkCacheDTypes(args);
  const words = (cache: Tensor, name: string) =>
    cache instanceof GpuKvCache ? calls.floats(cache.words, name, cache.words.shape) : calls.floats(cache, name, shape);
  return {
    keyCache: words(keyCache, 'keyCache'),
    valueCache: words(valueCache, 'valueCache'),
    dtype: keyCache instanceof GpuKvCache ? keyCache.dtype : 'float32',
    shape,
  };
}
