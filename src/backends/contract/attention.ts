import { ArgumentError, MetadataError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { ints } from './host-tensor.ts';
import { checkQueryStartLoc } from './sequences.ts';

/** The entry of a slot mapping for a row that only pads a batch: nothing is written for it. */
export const PAD_CACHE_SLOT = -1;

/**
 * Arguments of {@link AttentionOps.reshapeAndCache}. T tokens, H key-value heads, D head dim. Caches hold blocks of
 * tokens; cache slot `block * blockSize + offset` is a token's place. Both have one dtype.
 */
export interface ReshapeAndCacheArgs {
  /** (T, H*D) */
  readonly key: Tensor;
  /** (T, H*D) */
  readonly value: Tensor;
  /** (blocks, blockSize, H, D), float32 or of one of `KV_CACHE_DTYPES`, as `ArrayOps.empty` makes it. Updated in place. */
  readonly keyCache: Tensor;
  /** (blocks, blockSize, H, D). Updated in place. */
  readonly valueCache: Tensor;
  /** (T) int32: each token's cache slot, or {@link PAD_CACHE_SLOT}. No slot may appear twice. */
  readonly slotMapping: Tensor;
}

/** The keys that each token of a batch sees. The batch has S sequences, whose rows lie one after another. */
export interface PagedSequences {
  /** (S + 1) int32, ascending from 0 to T: sequence s has rows [queryStartLoc[s], queryStartLoc[s + 1]). */
  readonly queryStartLoc: Tensor;
  /** (S) int32: tokens of each sequence with those of this step; 0 for a sequence that only pads the batch. */
  readonly contextLens: Tensor;
  /** (S * W) int32, row-major: each sequence's blocks in order of position; what lies beyond its context is not read. */
  readonly blockTables: Tensor;
}

/** Arguments of {@link AttentionOps.pagedAttention}. H query heads share Hkv key-value heads; head h uses h / (H/Hkv). */
export interface PagedAttentionArgs extends PagedSequences {
  /** (T, H*D) */
  readonly query: Tensor;
  /** (blocks, blockSize, Hkv, D): the keys of all tokens, those of this step too. */
  readonly keyCache: Tensor;
  /** Like keyCache. */
  readonly valueCache: Tensor;
  /** Factor of the products of queries and keys. */
  readonly scale: number;
  /**
   * Keys that a token sees at most, its own and those before it: as `sliding_window` of Hugging Face's configs counts
   * them. Default: all.
   */
  readonly slidingWindow?: number | undefined;
}

/** The operations of an attention layer over a paged cache, under the names of vLLM's kernels. */
export interface AttentionOps {
  /**
   * Cosines and sines of the angles position * frequency, float32 as transformers computes them, times `scale`.
   * @param positions (T) int32
   * @param inverseFrequencies (R/2) float32
   * @returns (T, R): cosines, then sines.
   */
  rotaryTable(positions: Tensor, inverseFrequencies: Tensor, scale: number): Tensor;

  /**
   * Rotates the first R columns of every head, pairing column i with i + R/2 (arXiv:2104.09864 in the order of GPT-NeoX).
   * Other columns pass.
   * @param x (T, heads * headDim)
   * @param table (T, R) of {@link rotaryTable}, R even and at most headDim.
   */
  rotaryEmbedding(x: Tensor, table: Tensor, headDim: number): Tensor;

  /**
   * Puts the tokens' keys and values in their places of the cache, rounded to the nearest number of its dtype, ties to even.
   * float16 and FP8 saturate, as vLLM's kernels for FP8 do; NaN stays NaN. Attention reads nothing else: not the keys and
   * values of this step either, so what a token sees does not depend on how its prompt is split.
   */
  reshapeAndCache(args: ReshapeAndCacheArgs): void;

  /**
   * Causal softmax attention over a paged cache, for any mixture of prompts, parts of prompts and single tokens:
   *
   *     row i of a sequence of n rows has position p = contextLen - n + i
   *     out[i] = Σ_{p - slidingWindow < j <= p} softmax_j(scale * q_i · k_j) v_j
   *
   * Sums run over keys in ascending position, whatever else is in the batch. Rows of padding sequences give zeros.
   * @returns (T, H*D)
   */
  pagedAttention(args: PagedAttentionArgs): Tensor;
}

/** @throws ArgumentError unless C columns are whole heads of which R columns can be rotated. */
export function checkRotary(C: number, R: number, headDim: number): void {
  if (headDim > 0 && C % headDim === 0 && R % 2 === 0 && R <= headDim) return;
  throw new ArgumentError(
    `${R} columns of heads of ${headDim} can't be rotated in rows of ${C}.`,
    'Rows are whole heads, and the rotated columns an even number of at most a head.',
  );
}

/** @throws MetadataError on a cache slot that is not there, or that two tokens have. */
export function checkCacheSlots(slots: Int32Array, count: number): void {
  const used = new Set<number>();
  for (const slot of slots) {
    if (slot === PAD_CACHE_SLOT) continue;
    if (slot < 0 || slot >= count) {
      throw new MetadataError(`slotMapping names place ${slot} of a cache of ${count} tokens.`);
    }
    if (used.has(slot)) throw new MetadataError(`slotMapping names place ${slot} twice.`);
    used.add(slot);
  }
}

/** @throws ArgumentError unless keys and values have one dtype. */
export function checkCacheDTypes({ keyCache, valueCache }: Pick<PagedAttentionArgs, 'keyCache' | 'valueCache'>): void {
  if (keyCache.dtype === valueCache.dtype) return;
  throw new ArgumentError(`keyCache is ${keyCache.dtype} and valueCache ${valueCache.dtype}.`, 'Give both one dtype.');
}

/** More keys than any sequence has. */
const ALL_KEYS = 2 ** 31 - 1;

/**
 * Keys that a token sees at most, as a whole number that fits 32 bits.
 * @throws ArgumentError
 */
export function keysInSight({ slidingWindow = ALL_KEYS }: Pick<PagedAttentionArgs, 'slidingWindow'>): number {
  if (Number.isInteger(slidingWindow) && slidingWindow >= 1) return Math.min(slidingWindow, ALL_KEYS);
  throw new ArgumentError(`slidingWindow is ${slidingWindow}.`, 'Give a whole number from 1 on, or none.');
}

/**
 * The sequences of a batch of T rows, checked against a cache of this shape.
 * @throws ShapeError, MetadataError
 */
export function checkPagedSequences(
  {
    queryStartLoc,
    contextLens,
    blockTables,
  }: Pick<PagedAttentionArgs, 'queryStartLoc' | 'contextLens' | 'blockTables'>,
  T: number,
  [blocks, blockSize]: readonly number[],
): {
  readonly starts: Int32Array;
  readonly contextLens: Int32Array;
  readonly blockTables: Int32Array;
  /** Entries of the table per sequence. */
  readonly width: number;
} {
  const starts = checkQueryStartLoc(queryStartLoc, T);
  const count = starts.length - 1;
  const lengths = ints(contextLens, 'contextLens', count);
  const tables = ints(blockTables, 'blockTables', null);
  const width = count === 0 ? 0 : tables.length / count;
  if (!Number.isInteger(width)) {
    throw new MetadataError(`blockTables has ${tables.length} entries for ${count} sequences.`, 'Give each as many.');
  }
  for (const [s, length] of lengths.entries()) {
    const rows = starts[s + 1] - starts[s];
    const needed = Math.ceil(length / blockSize);
    if (length < 0 || (length > 0 && length < rows) || needed > width) {
      throw new MetadataError(
        `A sequence has ${rows} rows, a context of ${length} tokens and ${width} blocks of ${blockSize}.`,
        'The context holds the rows, and the blocks hold the context.',
      );
    }
    const used = tables.subarray(s * width, s * width + needed);
    const wrong = used.find((block) => block < 0 || block >= blocks);
    if (wrong !== undefined) throw new MetadataError(`blockTables names block ${wrong} of a cache of ${blocks}.`);
  }
  return { starts, contextLens: lengths, blockTables: tables, width };
}
