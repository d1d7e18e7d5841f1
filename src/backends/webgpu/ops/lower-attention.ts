import { elementGrid, type Lowering, place, rowGrid, WORKGROUP } from '../graph/lowering.ts';
import type {
  CacheRowsOperation,
  PagedAttentionOperation,
  RotaryEmbeddingOperation,
  RotaryTableOperation,
} from '../graph/operation.ts';

export function lowerRotaryTable(lowering: Lowering, operation: RotaryTableOperation): void {
  const { positions, frequencies, scale, out } = operation;
  const [T, R] = out.shape;
  lowering.dispatch(
    'rotary-table',
    {},
    {
      bindings: { positions: positions.storage, frequencies: frequencies.storage, out: out.storage },
      params: { T, half: R / 2, scale, ...place('frequencies', frequencies), ...place('out', out) },
      workgroups: elementGrid(R / 2, T),
    },
  );
}

export function lowerRotaryEmbedding(lowering: Lowering, operation: RotaryEmbeddingOperation): void {
  const { x, angles, headDim, out } = operation;
  const [T, C] = out.shape;
  lowering.dispatch(
    'rotary-embedding',
    {},
    {
      bindings: { x: x.storage, angles: angles.storage, out: out.storage },
      params: {
        ...{ T, C, headDim, half: angles.shape[1] / 2 },
        ...place('x', x),
        ...place('angles', angles),
        ...place('out', out),
      },
      workgroups: elementGrid(C, T),
    },
  );
}

export function lowerCacheRows(lowering: Lowering, { x, places, out }: CacheRowsOperation): void {
  const [T, C] = x.shape;
  lowering.dispatch(
    'cache-rows',
    {},
    {
      bindings: { x: x.storage, places: places.storage, cache: out.storage },
      params: { T, C, blockSize: out.shape[1], ...place('x', x), ...place('cache', out) },
      workgroups: elementGrid(C, T),
    },
  );
}

export function lowerPagedAttention(lowering: Lowering, operation: PagedAttentionOperation): void {
  const { query, keyCache, valueCache, queryStartLoc, contextLens, blockTables, tableWidth, scale, out } = operation;
  const [T, C] = query.shape;
  const [, blockSize, kvHeads, D] = keyCache.shape;
  lowering.dispatch(
    'paged-attention',
    { D, COLUMNS: Math.ceil(D / WORKGROUP) },
    {
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
        ...{ T, sequences: contextLens.data.length, headsPerGroup: C / D / kvHeads, kvColumns: kvHeads * D },
        ...{ blockSize, tableWidth, scale },
        ...place('query', query),
        ...place('keys', keyCache),
        ...place('values', valueCache),
        ...place('out', out),
      },
      workgroups: rowGrid(C / D, T),
    },
  );
}
