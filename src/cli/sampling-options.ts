import { type GenerateOptions, resolveSamplingParams } from '../engine/sampling-params.ts';
import { SamplingParamsError } from '../errors.ts';
import { flag, flagName, number, texts, type Values } from './option.ts';
import { UsageError } from './usage-error.ts';

/** How text is generated. Values that are not given come from the model's generation_config.json. */
export const samplingOptions = {
  maxTokens: number('Tokens to generate at most (default: 256)', 'n'),
  temperature: number("0 takes the likeliest token (default: the model's, else 1)", 't'),
  topP: number('Keep the likeliest tokens that together have this probability'),
  topK: number('Keep this many of the likeliest tokens; 0 keeps all'),
  minP: number("Least probability of a token, relative to the likeliest one's"),
  repetitionPenalty: number('Above 1, tokens that were there before become less likely'),
  seed: number('The same seed gives the same text'),
  stop: texts('text', 'End the text in front of this'),
  ignoreEos: flag("Go on past the model's end of text"),
};

/**
 * The values as options of the engine, checked now: what is out of range should not wait for a download.
 * @throws UsageError
 */
export function readSampling(values: Values<typeof samplingOptions>): GenerateOptions {
  const { maxTokens, temperature, topP, topK, minP, repetitionPenalty, seed, stop, ignoreEos } = values;
  const options = { maxTokens, temperature, topP, topK, minP, repetitionPenalty, seed, stop, ignoreEos };
  try {
    resolveSamplingParams(options, {});
  } catch (error) {
    if (!(error instanceof SamplingParamsError)) throw error;
    const [name] = error.message.split(' ', 1);
    throw new UsageError(Object.hasOwn(options, name) ? error.message.replace(name, flagName(name)) : error.message);
  }
  return options;
}
