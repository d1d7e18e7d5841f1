import type { KvCacheDType } from '../../../../tensor/kv-cache-dtype.ts';
import { checkPagedSequences, keysInSight, type PagedAttentionArgs } from '../../../contract/attention.ts';
import { headsPerGroup } from '../../../contract/sequences.ts';
import type { GpuIndices, GpuTensor } from '../../device/gpu-tensor.ts';
import { place, rowGrid, WORKGROUP } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Calls } from '../calls.ts';
import { cachesInWords } from './cache-words.ts';

const PAGED_ATTENTION = defineOperation<{
  readonly query: GpuTensor;
  /** In words. */
  readonly keyCache: GpuTensor;
  readonly valueCache: GpuTensor;
  readonly cacheDType: KvCacheDType;
  /** (blocks, blockSize, Hkv, D), in numbers. */
  readonly cacheShape: readonly number[];
  readonly queryStartLoc: GpuIndices;
  readonly contextLens: GpuIndices;
  readonly blockTables: GpuIndices;
  readonly tableWidth: number;
  readonly scale: number;
  readonly window: number;
  readonly out: GpuTensor;
}>({
  name: 'pagedAttention',
  lower: (lowering, operation) => {
    const { query, keyCache, valueCache, cacheDType, cacheShape, tableWidth, scale, window, out } = operation;
    const { queryStartLoc, contextLens, blockTables } = operation;
    const [T, C] = query.shape;
    const [, blockSize, kvHeads, D] = cacheShape;
    lowering.dispatch('paged-attention', {
      constants: { D, COLUMNS: Math.ceil(D / WORKGROUP), CACHE: cacheDType },
      bindings: {
        query: query.storage,
        keyCache: keyCache.storage,
        valueCache: valueCache.storage,
        queryStartLoc: queryStartLoc.storage,
        contextLens: contextLens.storage,
        blockTables: blockTables.storage,
        out: out.storage,
      },
      params: {
        T,
        sequences: contextLens.data.length,
        headsPerGroup: C / D / kvHeads,
        kvWords: keyCache.rowSize / blockSize,
        blockSize,
        tableWidth,
        scale,
        window,
        ...place('query', query),
        ...place('keys', keyCache),
        ...place('values', valueCache),
        ...place('out', out),
      },
      workgroups: rowGrid(C / D, T),
    });
  },
});

export function pagedAttention(calls: Calls, args: PagedAttentionArgs): GpuTensor {
  const { keyCache, valueCache, dtype: cacheDType, shape: cacheShape } = cachesInWords(calls, args);
  const query = calls.floats(args.query, 'query', [null, null]);
  const [T, C] = query.shape;
  const [, , kvHeads, D] = cacheShape;
  headsPerGroup(C / D, kvHeads);
  const queryStartLoc = calls.indices(args.queryStartLoc, 'queryStartLoc', null);
  const contextLens = calls.indices(args.contextLens, 'contextLens', null);
  const blockTables = calls.indices(args.blockTables, 'blockTables', null);
  const { width } = checkPagedSequences({ queryStartLoc, contextLens, blockTables }, T, cacheShape);
  return calls.make(PAGED_ATTENTION, query.shape, {
    query,
    keyCache,
    valueCache,
    cacheDType,
    cacheShape,
    queryStartLoc,
    contextLens,
    blockTables,
    tableWidth: width,
    scale: args.scale,
    window: keysInSight(args),
  });
}
