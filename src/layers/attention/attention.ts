import { ArgumentError, MetadataError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { RowParallelLinear } from '../linear/linear.ts';
import { MergedColumnParallelLinear } from '../linear/merged-column-parallel-linear.ts';
import { plainSum, type RankSum, sumOverRanks } from '../linear/rank-sum.ts';
import { HeadNorm } from '../norm/head-norm.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import { type Module, type Parameter, partOf, prefixed } from '../parameters/parameter.ts';
import type { QuantizationConfig } from '../parameters/quantization.ts';
import type { ShardSpec } from '../parameters/weight-loaders.ts';
import type { AttentionMetadata, BatchMetadata } from './attention-metadata.ts';
import { type KvCacheSize, kvCacheShape } from './kv-cache-shape.ts';

/** One layer's key-value cache on one rank: (blocks, blockSize, heads, head dim) each. */
export interface KvCacheParams {
  readonly keyCache: Tensor;
  readonly valueCache: Tensor;
  /** Keys are what the cache has times this. Default: 1. */
  readonly keyScale?: number | undefined;
  /** Values are what the cache has times this. Default: 1. */
  readonly valueScale?: number | undefined;
}

/** Sizes are those of the whole layer, over all ranks. */
export interface AttentionOptions {
  readonly hiddenSize: number;
  /** Columns of the input. Default: hiddenSize. */
  readonly inputSize?: number | undefined;
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly headDim: number;
  /** Factor of the products of queries and keys. Default: 1 / sqrt(headDim). */
  readonly scale?: number | undefined;
  /** Keys that a token sees at most, its own and those before it. Default: all. */
  readonly slidingWindow?: number | undefined;
  /** Whether all four projections have biases. */
  readonly bias: boolean;
  /** One tensor of the checkpoint that stacks queries, keys and values. Default: `q_proj`, `k_proj` and `v_proj`. */
  readonly stackedInput?: string | undefined;
  /** Norms of each head of the queries and keys, before they are rotated. Default: none. */
  readonly headNorms?: { readonly eps: number; readonly query: string; readonly key: string } | undefined;
  readonly prefix: string;
  readonly quantConfig?: QuantizationConfig | undefined;
}

/** Arguments of an attention layer's call besides its input. */
export interface AttentionStep {
  readonly kvCache?: KvCacheParams | undefined;
  /** None: a profile run, which skips the cache and serves for its shapes only. */
  readonly metadata?: BatchMetadata | undefined;
  /** Angles of this step's positions; none: a layer without rotary embedding. */
  readonly rotary?: Tensor | undefined;
  /** (T, this rank's columns) each: added to the projected queries, keys and values, as adapters do. */
  readonly qkvDeltas?: readonly Tensor[] | undefined;
}

/**
 * Causal grouped-query attention over a paged cache. Query heads are divided among as many ranks as divide them;
 * key-value heads follow theirs and are repeated where ranks share one.
 */
export class Attention implements Module {
  /** Sizes that decide this layer's cache, over all ranks. */
  readonly cacheSize: KvCacheSize;
  /** Division of the columns of queries, keys and values among the ranks. */
  readonly qkvSpecs: readonly ShardSpec[];
  readonly #context: LayerContext;
  readonly #headDim: number;
  readonly #scale: number;
  readonly #slidingWindow: number | undefined;
  readonly #qkvProj: MergedColumnParallelLinear;
  readonly #queryNorm: HeadNorm | undefined;
  readonly #keyNorm: HeadNorm | undefined;
  readonly #outProj: RowParallelLinear;

  /** @throws ArgumentError when the heads do not fit each other. */
  constructor(parent: LayerContext, options: AttentionOptions) {
    const { hiddenSize, inputSize = hiddenSize, numHeads, numKvHeads, headDim, bias, prefix, quantConfig } = options;
    const context = parent.sharing(numHeads);
    const { size } = context.group;
    if (numHeads % numKvHeads !== 0) {
      throw new ArgumentError(`${numHeads} query heads can't share ${numKvHeads} key-value heads evenly.`);
    }
    this.#context = context;
    this.#headDim = headDim;
    this.#scale = options.scale ?? headDim ** -0.5;
    this.#slidingWindow = options.slidingWindow;
    this.cacheSize = { numHeads, numKvHeads, headDim, prefix };
    const onAllRanks = kvCacheShape(this.cacheSize, size).numKvHeads * size;
    const queries = { fullDim: numHeads * headDim, extra: 0, blockSize: headDim };
    const keys = { fullDim: onAllRanks * headDim, extra: (onAllRanks - numKvHeads) * headDim, blockSize: headDim };
    this.qkvSpecs = [queries, keys, keys];
    const parts =
      options.stackedInput === undefined
        ? ['q_proj', 'k_proj', 'v_proj'].map((name, i) => ({ name, specs: [this.qkvSpecs[i]] }))
        : [{ name: options.stackedInput, specs: this.qkvSpecs }];
    this.#qkvProj = new MergedColumnParallelLinear(context, inputSize, parts, {
      bias,
      prefix: `${prefix}.qkv_proj`,
      quantConfig,
    });
    const { headNorms } = options;
    if (headNorms) {
      const { eps } = headNorms;
      this.#queryNorm = new HeadNorm(context, headNorms.query, { spec: queries, headDim, eps });
      this.#keyNorm = new HeadNorm(context, headNorms.key, { spec: keys, headDim, eps });
    }
    this.#outProj = new RowParallelLinear(context, numHeads * headDim, hiddenSize, {
      bias,
      prefix: `${prefix}.o_proj`,
      quantConfig,
    });
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield* partOf('attention', this.#qkvProj);
    if (this.#queryNorm) yield* this.#queryNorm.parameters();
    if (this.#keyNorm) yield* this.#keyNorm.parameters();
    yield* prefixed('o_proj', this.#outProj, 'attention');
  }

  /** (T, inputSize) → (T, hiddenSize), the same on all ranks. */
  forward(x: Tensor, step: AttentionStep): Tensor {
    return sumOverRanks(this.#context.backend, [this.forwardPartial(x, step)])[0];
  }

  /** {@link forward} without the sum over the ranks. */
  forwardPartial(x: Tensor, step: AttentionStep): RankSum {
    return plainSum(this.#context.group, this.#outProj.forwardPartial(this.#attend(x, step)));
  }

  /**
   * Only puts the keys and values of x (T, inputSize) into the cache, without rotating them.
   * @param slotMapping (T) int32: each row's place.
   */
  store(x: Tensor, cache: KvCacheParams, slotMapping: Tensor): void {
    const [, key, value] = this.#context.backend.splitColumns(this.#qkvProj.forward(x), this.#qkvProj.sizesPerRank);
    this.#write(this.#keyNorm?.forward(key) ?? key, value, cache, slotMapping);
  }

  /** Puts keys and values, divided by the cache's scales, into it. */
  #write(key: Tensor, value: Tensor, cache: KvCacheParams, slotMapping: Tensor): void {
    const { keyCache, valueCache, keyScale = 1, valueScale = 1 } = cache;
    const entries = { key: this.#times(key, 1 / keyScale), value: this.#times(value, 1 / valueScale) };
    this.#context.backend.reshapeAndCache({ ...entries, keyCache, valueCache, slotMapping });
  }

  #times(x: Tensor, factor: number): Tensor {
    return factor === 1 ? x : this.#context.backend.mulScalar(x, factor);
  }

  #attend(x: Tensor, { kvCache, metadata, rotary, qkvDeltas }: AttentionStep): Tensor {
    const { backend } = this.#context;
    const projected = this.#qkvProj.forward(x);
    const parts = backend.splitColumns(projected, this.#qkvProj.sizesPerRank);
    const [query, key, value] = qkvDeltas ? parts.map((part, i) => backend.add(part, qkvDeltas[i])) : parts;
    const q = this.#queryNorm?.forward(query) ?? query;
    const k = this.#keyNorm?.forward(key) ?? key;
    if (!metadata) return q;
    const cache = requireCache(kvCache);
    const { keyCache, valueCache, keyScale = 1, valueScale = 1 } = cache;
    const batch = requireAttention(metadata);
    const rotated = (heads: Tensor) => (rotary ? backend.rotaryEmbedding(heads, rotary, this.#headDim) : heads);
    this.#write(rotated(k), value, cache, batch.slotMapping);
    const own = { scale: this.#scale * keyScale, slidingWindow: this.#slidingWindow };
    const out = backend.pagedAttention({ ...batch, query: rotated(q), keyCache, valueCache, ...own });
    return this.#times(out, valueScale);
  }
}

function requireAttention({ attention }: BatchMetadata): AttentionMetadata {
  if (attention) return attention;
  throw new MetadataError(
    "The batch's metadata has no part for attention layers.",
    'Build it with buildAttentionMetadata from sequences that name their blocks.',
  );
}

function requireCache(cache: KvCacheParams | undefined): KvCacheParams {
  if (cache) return cache;
  throw new ArgumentError(
    'An attention layer was given metadata but no key-value cache.',
    'Pass both, or neither for a profile run.',
  );
}
