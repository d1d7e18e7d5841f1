import { getOwn } from '../checkpoint/json.ts';
import type { LayerContext } from '../layers/layer-context.ts';
import { MambaMixer2 } from '../layers/mamba-mixer2.ts';
import type { MambaStateShape, MambaStateSize } from '../layers/mamba-state-shape.ts';
import { type Parameter, prefixed } from '../layers/parameter.ts';
import type { QuantizationConfig } from '../layers/quantization.ts';
import { RMSNorm } from '../layers/rms-norm.ts';
import { VocabParallelEmbedding } from '../layers/vocab-parallel-embedding.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Architecture, CausalLM, LayerPart, ModelInput } from './causal-lm.ts';
import { type Mamba2Config, readMamba2Config } from './mamba2-config.ts';

/** A block: norm, mixer, residual. */
interface Mamba2Block {
  readonly norm: RMSNorm;
  readonly mixer: MambaMixer2;
}

/** A stack of mixers between an embedding and a head: transformers' `Mamba2ForCausalLM`. */
export class Mamba2ForCausalLM implements CausalLM {
  readonly stateShapes: readonly MambaStateShape[];
  readonly stateSizes: readonly MambaStateSize[];
  readonly kvCacheSizes = [];
  readonly layerMap: readonly (readonly LayerPart[])[];
  readonly #context: LayerContext;
  readonly #embeddings: VocabParallelEmbedding;
  readonly #layers: readonly Mamba2Block[];
  readonly #normF: RMSNorm;
  readonly #lmHead: VocabParallelEmbedding;

  constructor(context: LayerContext, config: Mamba2Config, quantConfig?: QuantizationConfig) {
    const { vocabSize, hiddenSize, layerNormEpsilon } = config;
    this.#context = context;
    this.#embeddings = new VocabParallelEmbedding(context, vocabSize, hiddenSize, 'backbone.embeddings', quantConfig);
    this.#layers = Array.from({ length: config.numHiddenLayers }, (_, i) => ({
      norm: new RMSNorm(context, hiddenSize, layerNormEpsilon),
      mixer: new MambaMixer2(context, {
        hiddenSize,
        ssmStateSize: config.stateSize,
        convKernelSize: config.convKernel,
        intermediateSize: config.intermediateSize,
        useConvBias: config.useConvBias,
        useBias: config.useBias,
        nGroups: config.nGroups,
        numHeads: config.numHeads,
        headDim: config.headDim,
        rmsNormEps: layerNormEpsilon,
        activation: config.hiddenAct,
        useRmsNorm: config.useRmsNorm,
        quantConfig,
        prefix: `backbone.layers.${i}.mixer`,
        chunkSize: config.chunkSize,
        timeStepLimit: config.timeStepLimit,
      }),
    }));
    this.#normF = new RMSNorm(context, hiddenSize, layerNormEpsilon);
    this.#lmHead = config.tieWordEmbeddings
      ? this.#embeddings
      : new VocabParallelEmbedding(context, vocabSize, hiddenSize, 'lm_head', quantConfig);
    this.layerMap = this.#layers.map(() => ['mixer']);
    this.stateShapes = this.#layers.map(({ mixer }) => mixer.getStateShape());
    this.stateSizes = this.#layers.map(({ mixer }) => mixer.stateSize);
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield* prefixed('backbone.embeddings', this.#embeddings);
    for (const [i, { norm, mixer }] of this.#layers.entries()) {
      yield* prefixed(`backbone.layers.${i}.norm`, norm);
      yield* prefixed(`backbone.layers.${i}.mixer`, mixer);
    }
    yield* prefixed('backbone.norm_f', this.#normF);
    if (this.#lmHead !== this.#embeddings) yield* prefixed('lm_head', this.#lmHead);
  }

  forward({ inputIds, cache, metadata }: ModelInput): Tensor {
    const { backend } = this.#context;
    let hiddenStates = this.#embeddings.embed(inputIds); // (T, hidden)
    for (const [i, { norm, mixer }] of this.#layers.entries()) {
      const mixed = mixer.forward(norm.forward(hiddenStates), cache?.[i], metadata);
      hiddenStates = backend.add(hiddenStates, mixed);
    }
    return this.#normF.forward(hiddenStates);
  }

  computeLogits(hiddenStates: Tensor): Tensor {
    return this.#lmHead.logits(hiddenStates);
  }
}

export const mamba2: Architecture = {
  names: ['Mamba2ForCausalLM'],
  recognizes: (json) => getOwn(json, 'model_type') === 'mamba2' || getOwn(json, 'ssm_cfg') !== undefined,
  define: (json) => {
    const config = readMamba2Config(json);
    return {
      config,
      create: (context, quantConfig) => new Mamba2ForCausalLM(context, config, quantConfig),
      parameterName: (name) => {
        // A tied head is stored by some writers and left out by others.
        if (name === 'lm_head.weight' && config.tieWordEmbeddings) return undefined;
        // The original layout has the singular.
        return name === 'backbone.embedding.weight' ? 'backbone.embeddings.weight' : name;
      },
    };
  },
};
