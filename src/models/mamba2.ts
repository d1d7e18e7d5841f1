import { getOwn } from '../checkpoint/json/json.ts';
import { MambaMixer2 } from '../layers/mamba/mamba-mixer2.ts';
import { RMSNorm } from '../layers/norm/rms-norm.ts';
import type { LayerContext } from '../layers/parameters/layer-context.ts';
import { type Parameter, prefixed } from '../layers/parameters/parameter.ts';
import type { QuantizationConfig } from '../layers/parameters/quantization.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Architecture, LayerPart } from './causal-lm.ts';
import type { DecoderLayer, LayerStep } from './decoder-layer.ts';
import { DecoderLM } from './decoder-lm.ts';
import { type Mamba2Config, readMamba2Config } from './mamba2-config.ts';

/** A block: norm, mixer, residual. */
class Mamba2Block implements DecoderLayer {
  readonly mixer: MambaMixer2;
  readonly parts: readonly LayerPart[] = ['mixer'];
  readonly #context: LayerContext;
  readonly #norm: RMSNorm;

  constructor(context: LayerContext, config: Mamba2Config, prefix: string, quantConfig?: QuantizationConfig) {
    const { hiddenSize, layerNormEpsilon } = config;
    this.#context = context;
    this.#norm = new RMSNorm(context, hiddenSize, layerNormEpsilon);
    this.mixer = new MambaMixer2(context, {
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
      normBeforeGate: config.normBeforeGate,
      quantConfig,
      prefix: `${prefix}.mixer`,
      chunkSize: config.chunkSize,
      timeStepLimit: config.timeStepLimit,
    });
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield* prefixed('norm', this.#norm);
    yield* prefixed('mixer', this.mixer);
  }

  forward(hiddenStates: Tensor, { cache, metadata }: LayerStep): Tensor {
    const mixed = this.mixer.forward(this.#norm.forward(hiddenStates), cache, metadata);
    return this.#context.backend.add(hiddenStates, mixed);
  }
}

const NAMES = { embeddings: 'backbone.embeddings', layers: 'backbone.layers', finalNorm: 'backbone.norm_f' };

/**
 * A stack of mixers between an embedding and a head: transformers' `Mamba2ForCausalLM`.
 *
 * @example
 * ```ts
 * const model = new Mamba2ForCausalLM(context, config);
 * console.log(model.layerMap.length, new ParameterTable(model).names());
 * ```
 */
export class Mamba2ForCausalLM extends DecoderLM {
  constructor(context: LayerContext, config: Mamba2Config, quantConfig?: QuantizationConfig) {
    const layer = (_: number, prefix: string) => new Mamba2Block(context, config, prefix, quantConfig);
    super(context, { ...config, normEps: config.layerNormEpsilon }, NAMES, layer, quantConfig);
  }
}

export const mamba2: Architecture = {
  names: ['Mamba2ForCausalLM'],
  recognizes: (json) => getOwn(json, 'model_type') === 'mamba2' || getOwn(json, 'ssm_cfg') !== undefined,
  define: (json) => {
    const config = readMamba2Config(json);
    return {
      config,
      embeddings: `${NAMES.embeddings}.weight`,
      create: (context, quantConfig) => new Mamba2ForCausalLM(context, config, quantConfig),
      // The original layout has the singular.
      parameterName: (name) => (name === 'backbone.embedding.weight' ? 'backbone.embeddings.weight' : name),
    };
  },
};
