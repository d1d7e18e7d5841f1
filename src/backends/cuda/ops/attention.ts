import { ArgumentError } from '../../../errors.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import {
  checkCacheSlots,
  checkPagedSequences,
  checkRotary,
  keysInSight,
  type PagedAttentionArgs,
  type ReshapeAndCacheArgs,
} from '../../contract/attention.ts';
import { headsPerGroup } from '../../contract/sequences.ts';
import { type CudaCalls, elementGrid } from '../device/cuda-calls.ts';
import type { CudaTensor } from '../device/cuda-tensor.ts';

/** Columns of heads that kernels take at most. */
const HEAD_DIMS = [64, 128, 512] as const;

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
  const keyCache = calls.floats(args.keyCache, 'keyCache', [null, null, null, null]);
  const valueCache = calls.floats(args.valueCache, 'valueCache', keyCache.shape);
  const [blocks, blockSize, H, D] = keyCache.shape;
  const C = H * D;
  const key = calls.floats(args.key, 'key', [null, C]);
  const [T] = key.shape;
  const value = calls.floats(args.value, 'value', [T, C]);
  const slots = calls.indices(args.slotMapping, 'slotMapping', T);
  checkCacheSlots(slots.data, blocks * blockSize);
  const parameters = { key, value, keyCache, valueCache, slots: slots.address, T, C, blockSize };
  calls.device.launch('reshape_and_cache', elementGrid(T, C), parameters);
}

export function pagedAttention(calls: CudaCalls, args: PagedAttentionArgs): CudaTensor {
  const keyCache = calls.floats(args.keyCache, 'keyCache', [null, null, null, null]);
  const valueCache = calls.floats(args.valueCache, 'valueCache', keyCache.shape);
  const [, blockSize, kvHeads, D] = keyCache.shape;
  const query = calls.floats(args.query, 'query', [null, null]);
  const [T, C] = query.shape;
  const heads = C / D;
  headsPerGroup(heads, kvHeads);
  const starts = calls.indices(args.queryStartLoc, 'queryStartLoc', null);
  const contextLens = calls.indices(args.contextLens, 'contextLens', null);
  const blockTables = calls.indices(args.blockTables, 'blockTables', null);
  const sequences = { queryStartLoc: starts, contextLens, blockTables };
  const { width } = checkPagedSequences(sequences, T, keyCache.shape);
  const size = HEAD_DIMS.find((most) => D <= most);
  if (size === undefined) throw new ArgumentError(`Heads have ${D} columns.`, `The device 'cuda' takes up to 512.`);
  const out = calls.make(query.shape);
  calls.device.launch(
    `paged_attention_${size}`,
    { blocks: [T * heads], threads: 128 },
    {
      ...{ query, keyCache, valueCache, out, starts: starts.address, contextLens: contextLens.address },
      ...{ blockTables: blockTables.address, count: contextLens.data.length, width, blockSize, heads, kvHeads, D },
      ...{ scale: args.scale, window: keysInSight(args) },
    },
  );
  return out;
}
