import type { ConfigKey, ConfigReader } from '../../checkpoint/json/config-reader.ts';
import { ConfigError } from '../../errors.ts';
import type { MambaMixer2Options } from '../../layers/mamba/mamba-mixer2-options.ts';
import { readActivation } from './activation-config.ts';
import { checkedMixer, SIZE } from './mixer-config.ts';

/** Kinds of layers under transformers' names of today. */
export type LayerType = 'linear_attention' | 'full_attention' | 'mlp' | 'moe' | 'hybrid';

/** Names that older configs have for them. */
const LEGACY_LAYER_TYPES: Readonly<Record<string, LayerType>> = {
  mamba: 'linear_attention',
  attention: 'full_attention',
  // Zamba2's first layout.
  m: 'linear_attention',
  g: 'hybrid',
};

/** The list of layers, old names and new; undefined when there is none. */
export function readLayerTypes(
  config: ConfigReader,
  key: ConfigKey,
  allowed: readonly LayerType[],
): LayerType[] | undefined {
  const accepts = (name: unknown) => allowed.some((type) => type === current(name));
  const names = config.optionalList(key, accepts, `a list of ${allowed.map((type) => `'${type}'`).join(', ')}`);
  return names?.map(current);
}

function current(name: unknown): LayerType {
  const known = String(name);
  return Object.hasOwn(LEGACY_LAYER_TYPES, known) ? LEGACY_LAYER_TYPES[known] : (known as LayerType);
}

/** Heads of attention layers. */
export interface AttentionSizes {
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly attentionHeadDim: number;
}

export function readAttentionSizes(
  config: ConfigReader,
  hiddenSize: number,
  defaults: { readonly heads: number; readonly kvHeads?: number; readonly headDim?: number },
): AttentionSizes {
  const numAttentionHeads = config.integer('num_attention_heads', { default: defaults.heads, ...SIZE });
  const explicitNull = config.isNull('num_key_value_heads');
  const numKeyValueHeads = config.integer('num_key_value_heads', {
    default: explicitNull ? numAttentionHeads : (defaults.kvHeads ?? numAttentionHeads),
    ...SIZE,
  });
  if (numAttentionHeads % numKeyValueHeads !== 0) {
    throw new ConfigError(
      `${config.fileName}: num_key_value_heads ${numKeyValueHeads} does not divide num_attention_heads ${numAttentionHeads}.`,
    );
  }
  const headDim =
    config.optionalInteger(['head_dim', 'attention_head_dim'], SIZE) ??
    defaults.headDim ??
    Math.floor(hiddenSize / numAttentionHeads);
  return { numAttentionHeads, numKeyValueHeads, attentionHeadDim: headDim };
}

/** Sizes and options of a mixer, as configs give them. */
export type MixerConfig = Omit<MambaMixer2Options, 'hiddenSize' | 'prefix' | 'quantConfig'> & {
  readonly numHeads: number;
  readonly headDim: number;
  readonly nGroups: number;
  readonly chunkSize: number;
};

/**
 * The mixer of Bamba, Granite and Falcon-H1, whose keys begin with `mamba_`. Defaults are those of transformers.
 * @param defaults the size where `mamba_d_ssm` is absent; null there means the expanded hidden size.
 */
export function readPrefixedMixer(
  config: ConfigReader,
  hiddenSize: number,
  defaults: { readonly intermediateSize?: number } = {},
): MixerConfig {
  const expanded = Math.floor(config.number('mamba_expand', { default: 2, min: 0 }) * hiddenSize);
  const intermediateSize = config.integer('mamba_d_ssm', {
    default: config.isNull('mamba_d_ssm') ? expanded : (defaults.intermediateSize ?? expanded),
    ...SIZE,
  });
  const numHeads = config.integer('mamba_n_heads', { default: 128, ...SIZE });
  const isAuto = config.isString('mamba_d_head') || !config.has('mamba_d_head');
  const headDim = isAuto ? autoHeadDim(config, intermediateSize, numHeads) : config.integer('mamba_d_head', SIZE);
  return checkedMixer(config.fileName, {
    intermediateSize,
    numHeads,
    headDim,
    ssmStateSize: config.integer('mamba_d_state', { default: 256, ...SIZE }),
    convKernelSize: config.integer('mamba_d_conv', { default: 4, ...SIZE }),
    nGroups: config.integer('mamba_n_groups', { default: 1, ...SIZE }),
    chunkSize: config.integer('mamba_chunk_size', { default: 256, ...SIZE }),
    useConvBias: config.boolean('mamba_conv_bias', { default: true }),
    useBias: config.boolean('mamba_proj_bias', { default: false }),
    activation: readActivation(config, 'hidden_act', 'silu'),
    timeStepLimit: config.numberPair('time_step_limit', [0, Number.POSITIVE_INFINITY]),
  });
}

function autoHeadDim(config: ConfigReader, intermediateSize: number, numHeads: number): number {
  if (config.has('mamba_d_head')) config.oneOf('mamba_d_head', ['auto']);
  return Math.floor(intermediateSize / numHeads);
}

/** A tensor that is stored although others say the same: the angles that older writers kept. */
export function isSpare(name: string): boolean {
  return name.endsWith('.rotary_emb.inv_freq');
}
