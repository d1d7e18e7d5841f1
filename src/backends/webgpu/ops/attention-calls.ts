import type { Tensor } from '../../../tensor/tensor.ts';
import {
  checkCacheSlots,
  checkPagedSequences,
  checkRotary,
  type PagedAttentionArgs,
  type ReshapeAndCacheArgs,
} from '../../contract/attention.ts';
import { headsPerGroup } from '../../contract/sequences.ts';
import { type GpuIndices, type GpuTensor, gpuFloats, gpuIndices } from '../device/gpu-tensor.ts';
import type { GpuArrays } from '../graph/arrays.ts';
import type { PendingWork } from '../graph/pending-work.ts';

/** The operations of attention layers: checks calls and enqueues them. */
export class AttentionCalls {
  readonly #owner: object;
  readonly #work: PendingWork;
  readonly #arrays: GpuArrays;

  constructor(owner: object, work: PendingWork, arrays: GpuArrays) {
    this.#owner = owner;
    this.#work = work;
    this.#arrays = arrays;
  }

  rotaryTable(positions: Tensor, inverseFrequencies: Tensor, scale: number): GpuTensor {
    const rows = this.#indices(positions, 'positions', null);
    const frequencies = this.#floats(inverseFrequencies, 'inverseFrequencies', [null]);
    const out = this.#arrays.make([rows.data.length, 2 * frequencies.shape[0]]);
    if (!out.isEmpty) this.#work.enqueue({ type: 'rotaryTable', positions: rows, frequencies, scale, out });
    return out;
  }

  rotaryEmbedding(x: Tensor, table: Tensor, headDim: number): GpuTensor {
    const [T, C] = x.shape;
    const input = this.#floats(x, 'x', [null, null]);
    const angles = this.#floats(table, 'table', [T, null]);
    checkRotary(C, table.shape[1], headDim);
    const out = this.#arrays.make(x.shape);
    if (!out.isEmpty) this.#work.enqueue({ type: 'rotaryEmbedding', x: input, angles, headDim, out });
    return out;
  }

  reshapeAndCache(args: ReshapeAndCacheArgs): void {
    const keyCache = this.#floats(args.keyCache, 'keyCache', [null, null, null, null]);
    const valueCache = this.#floats(args.valueCache, 'valueCache', keyCache.shape);
    const [blocks, blockSize, H, D] = keyCache.shape;
    const key = this.#floats(args.key, 'key', [null, H * D]);
    const value = this.#floats(args.value, 'value', [key.shape[0], H * D]);
    const places = this.#indices(args.slotMapping, 'slotMapping', key.shape[0]);
    checkCacheSlots(places.data, blocks * blockSize);
    if (key.isEmpty) return;
    this.#work.enqueue({ type: 'cacheRows', x: key, places, out: keyCache });
    this.#work.enqueue({ type: 'cacheRows', x: value, places, out: valueCache });
  }

  pagedAttention(args: PagedAttentionArgs): GpuTensor {
    const keyCache = this.#floats(args.keyCache, 'keyCache', [null, null, null, null]);
    const valueCache = this.#floats(args.valueCache, 'valueCache', keyCache.shape);
    const query = this.#floats(args.query, 'query', [null, null]);
    const [T, C] = query.shape;
    const [, , kvHeads, D] = keyCache.shape;
    headsPerGroup(C / D, kvHeads);
    const queryStartLoc = this.#indices(args.queryStartLoc, 'queryStartLoc', null);
    const contextLens = this.#indices(args.contextLens, 'contextLens', null);
    const blockTables = this.#indices(args.blockTables, 'blockTables', null);
    const { width } = checkPagedSequences({ queryStartLoc, contextLens, blockTables }, T, keyCache.shape);
    const out = this.#arrays.make(query.shape);
    if (out.isEmpty) return out;
    const { scale } = args;
    const sequences = { queryStartLoc, contextLens, blockTables, tableWidth: width };
    this.#work.enqueue({ type: 'pagedAttention', query, keyCache, valueCache, ...sequences, scale, out });
    return out;
  }

  #indices(x: Tensor, name: string, length: number | null): GpuIndices {
    return gpuIndices(this.#owner, x, name, length);
  }

  #floats(x: Tensor, name: string, expected: readonly (number | null)[]): GpuTensor {
    return gpuFloats(this.#owner, x, name, expected);
  }
}
