import type { Backend } from '../../backends/contract/backend.ts';
import { HostSavedSlot } from '../../backends/contract/slots.ts';
import type { Shard } from '../../distributed/shard-group.ts';
import { MetadataError } from '../../errors.ts';
import type { KvCacheParams } from '../../layers/attention/attention.ts';
import { KV_BLOCK_SIZE } from '../../layers/attention/attention-metadata.ts';
import {
  type CacheScales,
  type KvCacheSize,
  kvCacheShape,
  kvHeadsOfRank,
} from '../../layers/attention/kv-cache-shape.ts';
import { type KvCacheDType, kvHeadBytes } from '../../tensor/kv-cache-dtype.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { KvCacheFootprint, StatePlace } from './executor.ts';
import type { StatePart } from './state-part.ts';

/** The keys of one layer, or its values, and where they lie in an exported state. */
interface CachedHeads {
  /** (blocks, blockSize, heads, headDim) */
  readonly tensor: Tensor;
  readonly headDim: number;
  /** Numbers of the layer's heads that the rank holds, in its order. */
  readonly heads: readonly number[];
  /** Numbers per token in an exported state, and in those that lie before. */
  readonly tokenLength: number;
  readonly before: number;
  /** Last tokens of a text that have none yet: see {@link KvCacheSize.lag}. */
  readonly lag: number;
}

/** Number and form of the blocks. */
interface KvBlocks {
  readonly numBlocks: number;
  readonly dtype: KvCacheDType;
  /** Per attention layer. Default: 1. */
  readonly scales?: readonly CacheScales[] | undefined;
}

/** Keys and values of all attention layers on one rank, in blocks of tokens. */
export class KvCache {
  /** One entry per attention layer, for the model. */
  readonly layers: readonly KvCacheParams[];
  /** `blockBytes` are those of this rank. */
  readonly footprint: KvCacheFootprint;
  readonly #backend: Backend;
  readonly #cached: readonly CachedHeads[];

  constructor(backend: Backend, sizes: readonly KvCacheSize[], { numBlocks, dtype, scales }: KvBlocks, ranks: Shard) {
    this.#backend = backend;
    const cached: CachedHeads[] = [];
    let tokenLength = 0;
    let blockBytes = 0;
    const add = (size: KvCacheSize): Tensor => {
      const { numKvHeads, headDim } = kvCacheShape(size, ranks.size);
      // Not zeros: unwritten pages cost no memory, and nothing beyond a sequence's tokens is read.
      const tensor = backend.empty([numBlocks, KV_BLOCK_SIZE, numKvHeads, headDim], dtype);
      const wholeLength = size.numKvHeads * headDim;
      const heads = kvHeadsOfRank(size, ranks);
      cached.push({ tensor, headDim, heads, tokenLength: wholeLength, before: tokenLength, lag: size.lag ?? 0 });
      tokenLength += wholeLength;
      blockBytes += KV_BLOCK_SIZE * numKvHeads * kvHeadBytes(headDim, dtype);
      return tensor;
    };
    this.layers = sizes.map((size, i) => ({
      keyCache: add(size),
      valueCache: add(size),
      keyScale: scales?.[i].key,
      valueScale: scales?.[i].value,
    }));
    this.#cached = cached;
    const lag = Math.max(...cached.map((heads) => heads.lag));
    this.footprint = { numBlocks, blockSize: KV_BLOCK_SIZE, blockBytes, tokenLength, lag };
  }

  copyBlock(from: number, to: number): void {
    for (const { tensor } of this.#cached) this.#backend.copySlot(tensor, from, to);
  }

  /** @throws MetadataError when one of the blocks is not there. */
  check(blocks: readonly number[]): void {
    const { numBlocks } = this.footprint;
    const wrong = blocks.find((block) => !(Number.isInteger(block) && block >= 0 && block < numBlocks));
    if (wrong !== undefined)
      throw new MetadataError(`A sequence names block ${wrong}; the key-value cache has ${numBlocks}.`);
  }

  /** Keys and values of some tokens on this rank. @param begin where the first layer's keys lie in the whole. */
  async exportParts({ id, blocks, length }: StatePlace, begin: number): Promise<StatePart[]> {
    const parts = this.#cached.map(async ({ tensor, headDim, heads, tokenLength, before, lag }) => {
      // At the end of a text, their places may hold what belonged to others.
      const written = id === undefined ? length : length - lag;
      // All reads begin now: a later step may give the blocks to others.
      const saved = blocks.map((block) => this.#backend.saveSlot(tensor, block));
      const rows = heads.map(() => new Float32Array(length * headDim));
      for (const [b, block] of saved.entries()) {
        const values = await block.read();
        block.dispose();
        forEachRow(b, written, heads.length, (token, head, row) => {
          rows[head].set(values.subarray(row * headDim, (row + 1) * headDim), token * headDim);
        });
      }
      const offset = begin + before * length;
      return heads.map((head, i) => ({
        offset: offset + head * headDim,
        values: rows[i],
        rows: { length: headDim, stride: tokenLength },
      }));
    });
    return (await Promise.all(parts)).flat();
  }

  /** Takes this rank's keys and values out of a whole state. */
  importWhole({ blocks, length }: StatePlace, whole: Float32Array, begin: number): void {
    for (const { tensor, headDim, heads, tokenLength, before } of this.#cached) {
      const offset = begin + before * length;
      for (const [b, block] of blocks.entries()) {
        const values = new Float32Array(KV_BLOCK_SIZE * heads.length * headDim);
        forEachRow(b, length, heads.length, (token, head, row) => {
          const from = offset + token * tokenLength + heads[head] * headDim;
          values.set(whole.subarray(from, from + headDim), row * headDim);
        });
        this.#backend.loadSlot(tensor, block, new HostSavedSlot(values));
      }
    }
  }
}

/** The rows (token in the sequence, head) of its b-th block, with their place in the block. */
function forEachRow(
  b: number,
  length: number,
  heads: number,
  visit: (token: number, head: number, row: number) => void,
): void {
  const begin = b * KV_BLOCK_SIZE;
  const end = Math.min(begin + KV_BLOCK_SIZE, length);
  for (let token = begin; token < end; token++) {
    for (let head = 0; head < heads; head++) visit(token, head, (token - begin) * heads + head);
  }
}
