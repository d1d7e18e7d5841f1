import type { ConfigReader } from '../../checkpoint/json/config-reader.ts';
import { ConfigError } from '../../errors.ts';
import type { RopeParameters, RopeScaling } from '../../layers/attention/rotary-embedding.ts';

/**
 * `rope_parameters` of transformers 5, or `rope_theta`, `partial_rotary_factor` and `rope_scaling` of versions before.
 * @throws ConfigError on a scaling whose frequencies change with the length of the context: keys that are cached would
 * have to be turned again.
 */
export function readRope(
  config: ConfigReader,
  headDim: number,
  defaults: { readonly partialRotaryFactor?: number } = {},
): RopeParameters {
  const rope = config.section(['rope_scaling', 'rope_parameters']);
  const theta =
    rope?.optionalNumber('rope_theta', { above: 0 }) ?? config.number('rope_theta', { above: 0, default: 10000 });
  const partial =
    rope?.optionalNumber('partial_rotary_factor', { min: 0, max: 1 }) ??
    defaults.partialRotaryFactor ??
    config.number('partial_rotary_factor', { default: 1, min: 0, max: 1 });
  const rotaryDim = Math.floor(headDim * partial);
  if (rotaryDim % 2 !== 0 || rotaryDim === 0) {
    throw new ConfigError(
      `${config.fileName}: of heads of ${headDim} columns the part ${partial} is rotated, which makes ${rotaryDim}.`,
      'Rotated columns come in pairs.',
    );
  }
  return { theta, rotaryDim, scaling: rope ? readScaling(rope, config) : { type: 'default' } };
}

function readScaling(rope: ConfigReader, config: ConfigReader): RopeScaling {
  const type = rope.string(['rope_type', 'type'], { default: 'default' });
  const positive = { above: 0 };
  const original = () =>
    rope.optionalInteger('original_max_position_embeddings', { min: 1 }) ??
    config.integer(['original_max_position_embeddings', 'max_position_embeddings'], { min: 1 });
  switch (type) {
    case 'default':
      return { type };
    case 'linear':
      return { type, factor: rope.number('factor', positive) };
    case 'llama3':
      return {
        type,
        factor: rope.number('factor', positive),
        lowFreqFactor: rope.number('low_freq_factor', positive),
        highFreqFactor: rope.number('high_freq_factor', positive),
        originalMaxPositionEmbeddings: original(),
      };
    case 'yarn': {
      const factor =
        rope.optionalNumber('factor', positive) ?? config.integer('max_position_embeddings', { min: 1 }) / original();
      return {
        type,
        factor,
        betaFast: rope.number('beta_fast', { default: 32, ...positive }),
        betaSlow: rope.number('beta_slow', { default: 1, ...positive }),
        truncate: rope.boolean('truncate', { default: true }),
        attentionFactor: rope.optionalNumber('attention_factor', positive) ?? yarnAttentionFactor(rope, factor),
        originalMaxPositionEmbeddings: original(),
      };
    }
    default:
      throw new ConfigError(
        `${rope.fileName}: rope_type is '${type}'; supported are default, linear, llama3 and yarn.`,
        'Scalings that depend on the length of the context can not be cached.',
      );
  }
}

/** Factor by which YaRN sharpens attention: 0.1 ln(factor) + 1, weighted by options of DeepSeek's models. */
function yarnAttentionFactor(rope: ConfigReader, factor: number): number {
  const of = (weight: number) => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1);
  const [mscale, all] = [rope.optionalNumber('mscale') ?? 0, rope.optionalNumber('mscale_all_dim') ?? 0];
  return mscale !== 0 && all !== 0 ? of(mscale) / of(all) : of(1);
}
