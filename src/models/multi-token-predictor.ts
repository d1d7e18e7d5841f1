import type { KvCacheParams } from '../layers/attention/attention.ts';
import type { AttentionMetadata } from '../layers/attention/attention-metadata.ts';
import type { KvCacheSize } from '../layers/attention/kv-cache-shape.ts';
import { ReplicatedLinear } from '../layers/linear/replicated-linear.ts';
import { RMSNorm } from '../layers/norm/rms-norm.ts';
import type { LayerContext } from '../layers/parameters/layer-context.ts';
import { type Module, type Parameter, prefixed } from '../layers/parameters/parameter.ts';
import type { QuantizationConfig } from '../layers/parameters/quantization.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { DecoderLayer, LayerStep } from './decoder-layer.ts';

export interface MultiTokenPredictorOptions {
  readonly hiddenSize: number;
  readonly normEps: number;
  readonly numLayers: number;
  /** Layer i's weights begin with `<prefix>.<i>.`. */
  readonly prefix: string;
  readonly quantConfig?: QuantizationConfig | undefined;
}

/**
 * A model's own layers for multi-token prediction (arXiv:2404.19737; in the form of arXiv:2412.19437, 2.2, with one module):
 *
 *     x_t = W [norm_e(embedding of token t) | norm_h(h_{t-1})]
 *     h'_t = norm(layers(x_t))         of which the model's head makes logits of token t + 1
 *
 * h is what the model's last norm gives, or, for a token beyond those that the model has seen, the module's own h'.
 * Its attention sees the tokens from a sequence's second on: the first has none before it. The keys and values of token t
 * lie in the place of token t - 1, so that the module's cache has no gap.
 * Source: vLLM `vllm/model_executor/models/nemotron_h_mtp.py`.
 */
export class MultiTokenPredictor implements Module {
  /** Size of its attention layer's cache, over all ranks. Empty where it has no such layer. */
  readonly kvCacheSizes: readonly KvCacheSize[];
  readonly #context: LayerContext;
  readonly #prefix: string;
  readonly #embeddedNorm: RMSNorm;
  readonly #hiddenNorm: RMSNorm;
  readonly #projection: ReplicatedLinear;
  readonly #layers: readonly DecoderLayer[];
  readonly #finalNorm: RMSNorm;

  /** @param makeLayer layer i, whose parts' prefix is `prefix`: without a mixer, and at most one has attention. */
  constructor(
    context: LayerContext,
    { hiddenSize, normEps, numLayers, prefix, quantConfig }: MultiTokenPredictorOptions,
    makeLayer: (i: number, prefix: string) => DecoderLayer,
  ) {
    this.#context = context;
    this.#prefix = prefix;
    this.#embeddedNorm = new RMSNorm(context, hiddenSize, normEps);
    this.#hiddenNorm = new RMSNorm(context, hiddenSize, normEps);
    const projection = { bias: false, prefix: `${prefix}.0.eh_proj`, quantConfig };
    this.#projection = new ReplicatedLinear(context, 2 * hiddenSize, hiddenSize, projection);
    this.#layers = Array.from({ length: numLayers }, (_, i) => makeLayer(i, `${prefix}.${i}`));
    this.#finalNorm = new RMSNorm(context, hiddenSize, normEps);
    // A place's keys and values are those of the token after it.
    this.kvCacheSizes = this.#layers.flatMap(({ attention }) => (attention ? { ...attention.cacheSize, lag: 1 } : []));
    context.checkWeights(prefix, { parameters: () => this.#named() });
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    for (const [name, parameter] of this.#named()) yield [`${this.#prefix}.${name}`, parameter];
  }

  /** Weights by the names that follow the prefix: those before the layers are the first one's, that after them the last one's. */
  *#named(): Iterable<readonly [string, Parameter]> {
    yield* prefixed('0.enorm', this.#embeddedNorm);
    yield* prefixed('0.hnorm', this.#hiddenNorm);
    yield* prefixed('0.eh_proj', this.#projection);
    for (const [i, layer] of this.#layers.entries()) yield* prefixed(`${i}`, layer);
    yield* prefixed(`${this.#layers.length - 1}.final_layernorm`, this.#finalNorm);
  }

  /**
   * Guesses the token after each.
   * @param embedded (T, hiddenSize): embeddings of tokens.
   * @param previous (T, hiddenSize): h of the tokens before them.
   * @param step of the places of the tokens before them.
   * @returns (T, hiddenSize): h', for the head, and for the next token.
   */
  forward(embedded: Tensor, previous: Tensor, step: Omit<LayerStep, 'embedded'>): Tensor {
    let hiddenStates = this.#begin(embedded, previous);
    for (const layer of this.#layers) hiddenStates = layer.forward(hiddenStates, { ...step, embedded });
    return this.#finalNorm.forward(hiddenStates);
  }

  /** Takes tokens that the model has seen into the attention's cache, without guesses. Arguments are those of {@link forward}. */
  observe(embedded: Tensor, previous: Tensor, kvCache: KvCacheParams | undefined, attention: AttentionMetadata): void {
    const last = this.#layers.findIndex((layer) => layer.attention);
    const { previousSlots } = attention;
    if (last === -1 || !kvCache || !previousSlots) return;
    let hiddenStates = this.#begin(embedded, previous);
    for (const layer of this.#layers.slice(0, last)) hiddenStates = layer.forward(hiddenStates, { embedded });
    this.#layers[last].store?.(hiddenStates, kvCache, previousSlots);
  }

  /** The two inputs as one. */
  #begin(embedded: Tensor, previous: Tensor): Tensor {
    const inputs = [this.#embeddedNorm.forward(embedded), this.#hiddenNorm.forward(previous)];
    return this.#projection.forward(this.#context.backend.concatColumns(inputs));
  }
}
