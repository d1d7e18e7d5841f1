import { Attention } from '../layers/attention/attention.ts';
import { MambaMixer2 } from '../layers/mamba/mamba-mixer2.ts';
import type { LayerContext } from '../layers/parameters/layer-context.ts';
import { type Module, prefixed } from '../layers/parameters/parameter.ts';
import type { QuantizationConfig } from '../layers/parameters/quantization.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { AttentionSizes, MixerConfig } from './config/hybrid-config.ts';
import type { LayerStep } from './decoder-layer.ts';

/** The part of a layer that looks at other tokens: a mixer or attention. */
export interface TokenMixing extends Module {
  readonly part: 'mixer' | 'attention';
  readonly mixer?: MambaMixer2;
  readonly attention?: Attention;
  /** (T, hiddenSize) → (T, hiddenSize) */
  forward(normed: Tensor, step: LayerStep): Tensor;
}

/** Sizes and options of mixers and of attention, as configs give them. */
export interface TokenMixingConfig extends AttentionSizes {
  readonly hiddenSize: number;
  readonly normEps: number;
  readonly mixer: MixerConfig;
  readonly attentionBias: boolean;
  /** Factor of the products of queries and keys. Default: 1 / sqrt(attentionHeadDim). */
  readonly attentionMultiplier?: number | undefined;
}

/**
 * One of the two as Bamba and Granite have them, named `mamba` or `self_attn`.
 * @param prefix the layer's name.
 */
export function makeTokenMixing(
  context: LayerContext,
  config: TokenMixingConfig,
  part: TokenMixing['part'],
  prefix: string,
  quantConfig?: QuantizationConfig,
): TokenMixing {
  const { hiddenSize, numAttentionHeads, numKeyValueHeads, attentionHeadDim, normEps } = config;
  if (part === 'attention') {
    const attention = new Attention(context, {
      hiddenSize,
      numHeads: numAttentionHeads,
      numKvHeads: numKeyValueHeads,
      headDim: attentionHeadDim,
      scale: config.attentionMultiplier,
      bias: config.attentionBias,
      prefix: `${prefix}.self_attn`,
      quantConfig,
    });
    const forward = (normed: Tensor, step: LayerStep) => attention.forward(normed, step);
    return { part, attention, parameters: () => prefixed('self_attn', attention), forward };
  }
  const mixer = new MambaMixer2(context.sharing(config.mixer.numHeads), {
    ...config.mixer,
    hiddenSize,
    rmsNormEps: normEps,
    // transformers normalises whole rows; published models have one group.
    normGroups: 1,
    prefix: `${prefix}.mamba`,
    quantConfig,
  });
  const forward = (normed: Tensor, { cache, metadata }: LayerStep) => mixer.forward(normed, cache, metadata);
  return { part, mixer, parameters: () => prefixed('mamba', mixer), forward };
}
