import { ArgumentError } from '../../../errors.ts';
import type { KvCacheDType } from '../../../tensor/kv-cache-dtype.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import {
  checkCacheDTypes,
  checkCacheSlots,
  checkPagedSequences,
  checkRotary,
  keysInSight,
  type PagedAttentionArgs,
  type ReshapeAndCacheArgs,
} from '../../contract/attention.ts';
import { headsPerGroup } from '../../contract/sequences.ts';
import { checkShape } from '../../contract/shapes.ts';
import { type CudaCalls, elementGrid } from '../device/cuda-calls.ts';
import { CudaKvCache, type CudaTensor } from '../device/cuda-tensor.ts';

/** Columns of heads that kernels take at most; those for groups take multiples of 8. */
const HEAD_DIMS = [64, 128, 256] as const;
const MOST_COLUMNS = 512;

/** Query heads that a block computes at most. */
const GROUP_HEADS = 4;

/** Names of formats of caches in kernels. */
const FORMATS = {
  float32: 'FLOAT32',
  float16: 'FLOAT16',
  bfloat16: 'BFLOAT16',
  fp8_e4m3: 'F8_E4M3',
  fp8_e5m2: 'F8_E5M2',
} as const satisfies Readonly<Record<KvCacheDType, string>>;

export function rotaryTable(
  calls: CudaCalls,
  positions: Tensor,
  inverseFrequencies: Tensor,
  scale: number,
): CudaTensor {
  const rows = calls.indices(positions, 'positions', null);
  const frequencies = calls.floats(inverseFrequencies, 'inverseFrequencies', [null]);
  const T = rows.data.length;
  const [half] = frequencies.shape;
  const out = calls.make([T, 2 * half]);
  calls.device.launch('rotary_table', elementGrid(T, half), {
    positions: rows.address,
    frequencies,
    out,
    T,
    half,
    scale,
  });
  return out;
}

export function rotaryEmbedding(calls: CudaCalls, x: Tensor, table: Tensor, headDim: number): CudaTensor {
  const own = calls.floats(x, 'x', [null, null]);
  const [T, C] = own.shape;
  const angles = calls.floats(table, 'table', [T, null]);
  checkRotary(C, angles.shape[1], headDim);
  const out = calls.make(own.shape);
  const parameters = { x: own, table: angles, out, T, C, headDim, half: angles.shape[1] / 2 };
  calls.device.launch('rotary_embedding', elementGrid(T, C), parameters);
  return out;
}

export function reshapeAndCache(calls: CudaCalls, args: ReshapeAndCacheArgs): void {
  const { keyCache, valueCache, format, shape } = caches(calls, args);
  const [blocks, blockSize, heads, D] = shape;
  const key = calls.floats(args.key, 'key', [null, heads * D]);
  const [T] = key.shape;
  const value = calls.floats(args.value, 'value', [T, heads * D]);
  const slots = calls.indices(args.slotMapping, 'slotMapping', T);
  checkCacheSlots(slots.data, blocks * blockSize);
  const parameters = { key, value, keyCache, valueCache, slots: slots.address, T, heads, D, blockSize };
  const words = keyCache.rowSize / blockSize;
  calls.device.launch(`reshape_and_cache_${format}`, elementGrid(T, words), parameters);
}

export function pagedAttention(calls: CudaCalls, args: PagedAttentionArgs): CudaTensor {
  const { keyCache, valueCache, format, shape } = caches(calls, args);
  const [, blockSize, kvHeads, D] = shape;
  const query = calls.floats(args.query, 'query', [null, null]);
  const [T, C] = query.shape;
  const heads = C / D;
  headsPerGroup(heads, kvHeads);
  const starts = calls.indices(args.queryStartLoc, 'queryStartLoc', null);
  const contextLens = calls.indices(args.contextLens, 'contextLens', null);
  const blockTables = calls.indices(args.blockTables, 'blockTables', null);
  const sequences = { queryStartLoc: starts, contextLens, blockTables };
  const { width } = checkPagedSequences(sequences, T, shape);
  if (D > MOST_COLUMNS) {
    throw new ArgumentError(`Heads have ${D} columns.`, `The device 'cuda' takes up to ${MOST_COLUMNS}.`);
  }
  const share = heads / kvHeads;
  // As many parts as there must be, of as many heads each.
  const parts = Math.ceil(share / GROUP_HEADS);
  const out = calls.make(query.shape);
  const parameters = {
    ...{ query, keyCache, valueCache, out, starts: starts.address, contextLens: contextLens.address },
    ...{ blockTables: blockTables.address, count: contextLens.data.length, width, blockSize, heads, kvHeads, D },
    ...{ groupHeads: Math.ceil(share / parts), scale: args.scale, window: keysInSight(args) },
  };
  const size = D % 8 === 0 ? HEAD_DIMS.find((most) => D <= most) : undefined;
  if (size === undefined) {
    calls.device.launch(`paged_attention_${format}`, { blocks: [T * heads], threads: 128 }, parameters);
  } else {
    const grid = { blocks: [T * kvHeads * parts], threads: 256 } as const;
    calls.device.launch(`group_attention_${size}_${format}`, grid, parameters);
  }
  return out;
}

/** Both caches in words, their format, and the shape of each in numbers. */
function caches(calls: CudaCalls, args: Pick<PagedAttentionArgs, 'keyCache' | 'valueCache'>) {
  const { keyCache, valueCache } = args;
  checkShape(keyCache, 'keyCache', [null, null, null, null]);
  const { shape } = keyCache;
  checkShape(valueCache, 'valueCache', shape);
  checkCacheDTypes(args);
  const words = (cache: Tensor, name: string): CudaTensor =>
    cache instanceof CudaKvCache
      ? calls.floats(cache.words, name, cache.words.shape)
      : calls.floats(cache, name, shape);
  const dtype = keyCache instanceof CudaKvCache ? keyCache.dtype : 'float32';
  return {
    keyCache: words(keyCache, 'keyCache'),
    valueCache: words(valueCache, 'valueCache'),
    format: FORMATS[dtype],
    shape,
  };
}
