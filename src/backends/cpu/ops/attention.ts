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
import { ints } from '../../contract/host-tensor.ts';
import { headsPerGroup } from '../../contract/sequences.ts';
import { checkShape } from '../../contract/shapes.ts';
import type { KernelCalls } from '../kernels/kernel-calls.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { indexAddress } from '../memory/cpu-indices.ts';
import type { CpuMemory } from '../memory/cpu-memory.ts';
import type { CpuRuntime } from '../memory/cpu-runtime.ts';
import { CpuKvCache, KV_FORMATS } from '../memory/cpu-short.ts';
import { CpuTensor, cpuFloats } from '../memory/cpu-tensor.ts';

/** Keys or values of a layer in the backend's memory. */
interface CacheInMemory {
  readonly address: number;
  readonly blockBytes: number;
  /** Number of the format in kernels. */
  readonly format: number;
}

/** Rotary embeddings, the key-value cache, and attention over it. */
export class CpuAttention {
  readonly #memory: CpuMemory;
  readonly #kernels: Kernels;
  readonly #calls: KernelCalls;

  constructor({ memory, kernels }: CpuRuntime, calls: KernelCalls) {
    this.#memory = memory;
    this.#kernels = kernels;
    this.#calls = calls;
  }

  /** Computed on the host, once per step: angles of large positions need more than float32 to be reduced. */
  rotaryTable(positions: Tensor, inverseFrequencies: Tensor, scale: number): CpuTensor {
    const rows = ints(positions, 'positions', null);
    const frequencies = cpuFloats(this.#memory, inverseFrequencies, 'inverseFrequencies', [null]);
    const half = frequencies.shape[0];
    const out = CpuTensor.allocate(this.#memory, [rows.length, 2 * half]);
    this.#calls.run(() => {
      const { floats } = this.#memory;
      for (let t = 0; t < rows.length; t++) {
        const cosines = out.address / 4 + t * out.stride;
        for (let i = 0; i < half; i++) {
          const frequency = floats[frequencies.address / 4 + i * frequencies.stride];
          const angle = Math.fround(rows[t] * frequency);
          floats[cosines + i] = Math.cos(angle) * scale;
          floats[cosines + half + i] = Math.sin(angle) * scale;
        }
      }
    });
    return out;
  }

  rotaryEmbedding(x: Tensor, table: Tensor, headDim: number): CpuTensor {
    const rows = this.#floats(x, 'x', [null, null]);
    const [T, C] = x.shape;
    const angles = this.#floats(table, 'table', [T, null]);
    const R = table.shape[1];
    checkRotary(C, R, headDim);
    const out = CpuTensor.allocate(this.#memory, x.shape);
    this.#kernels.rotaryRows(
      rows.address,
      rows.byteStride,
      angles.address,
      angles.byteStride,
      out.address,
      out.byteStride,
      T,
      C / headDim,
      headDim,
      R,
    );
    return out;
  }

  reshapeAndCache({ key, value, keyCache, valueCache, slotMapping }: ReshapeAndCacheArgs): void {
    const [blocks, blockSize, H, D] = keyCache.shape;
    const [T] = key.shape;
    const caches = this.#caches({ keyCache, valueCache });
    const rows = [this.#floats(key, 'key', [null, H * D]), this.#floats(value, 'value', [T, H * D])];
    checkCacheSlots(ints(slotMapping, 'slotMapping', T), blocks * blockSize);
    const slots = indexAddress(this.#memory, slotMapping, 'slotMapping', T);
    for (const [i, { address, byteStride }] of rows.entries()) {
      const cache = caches[i];
      const to = [cache.address, cache.blockBytes, blockSize, H, D, cache.format] as const;
      this.#kernels.cacheRows(address, byteStride, ...to, slots, T);
    }
  }

  pagedAttention(args: PagedAttentionArgs): CpuTensor {
    const [keys, values] = this.#caches(args);
    const { shape } = args.keyCache;
    const [, blockSize, kvHeads, D] = shape;
    const query = this.#floats(args.query, 'query', [null, null]);
    const [T, C] = query.shape;
    const heads = C / D;
    headsPerGroup(heads, kvHeads);
    const { contextLens, width } = checkPagedSequences(args, T, shape);
    const out = CpuTensor.allocate(this.#memory, query.shape);
    this.#memory.scope(() => {
      this.#kernels.pagedAttention(
        query.address,
        query.byteStride,
        keys.address,
        keys.blockBytes,
        values.address,
        values.blockBytes,
        blockSize,
        indexAddress(this.#memory, args.queryStartLoc, 'queryStartLoc', null),
        indexAddress(this.#memory, args.contextLens, 'contextLens', null),
        indexAddress(this.#memory, args.blockTables, 'blockTables', null),
        contextLens.length,
        width,
        out.address,
        out.byteStride,
        heads,
        kvHeads,
        D,
        args.scale,
        keysInSight(args),
        keys.format,
        this.#memory.allocate(this.#kernels.attentionScratch(heads, D)),
      );
    });
    return out;
  }

  /** Keys and values as kernels find them. */
  #caches(args: Pick<PagedAttentionArgs, 'keyCache' | 'valueCache'>): [CacheInMemory, CacheInMemory] {
    const { keyCache, valueCache } = args;
    checkShape(keyCache, 'keyCache', [null, null, null, null]);
    checkShape(valueCache, 'valueCache', keyCache.shape);
    checkCacheDTypes(args);
    const find = (cache: Tensor, name: string): CacheInMemory => {
      if (cache instanceof CpuKvCache) {
        return { address: cache.address, blockBytes: cache.slotBytes, format: KV_FORMATS[cache.dtype] };
      }
      const { address, byteStride } = this.#floats(cache, name, cache.shape);
      return { address, blockBytes: byteStride, format: KV_FORMATS.float32 };
    };
    return [find(keyCache, 'keyCache'), find(valueCache, 'valueCache')];
  }

  #floats(x: Tensor, name: string, expected: readonly (number | null)[]): CpuTensor {
    return cpuFloats(this.#memory, x, name, expected);
  }
}
