import type { LLM } from '../../engine/llm.ts';

/** How varied answers are. */
export type LanguageModelSamplingMode =
  | 'most-predictable'
  | 'predictable'
  | 'balanced'
  | 'creative'
  | 'most-creative'
  | 'default';

/** Default and largest values of raw parameters. */
export interface LanguageModelParams {
  readonly defaultTopK: number;
  readonly maxTopK: number;
  readonly defaultTemperature: number;
  readonly maxTemperature: number;
}

/** How a session's tokens are chosen. */
export interface SessionSampling {
  readonly samplingMode: LanguageModelSamplingMode;
  readonly temperature: number;
  readonly topK: number;
}

/** What a session's creator says about it. */
interface SamplingChoice {
  readonly samplingMode?: LanguageModelSamplingMode | undefined;
  readonly temperature?: number | undefined;
  readonly topK?: number | undefined;
}

const MAX_TEMPERATURE = 2;

/** Each mode's part of the model's own temperature. */
const FACTORS: Readonly<Record<LanguageModelSamplingMode, number>> = {
  'most-predictable': 0,
  predictable: 0.5,
  balanced: 1,
  creative: 1.25,
  'most-creative': 1.5,
  default: 1,
};

export function params(llm: LLM): LanguageModelParams {
  const { temperature, topK } = llm.resolveSamplingParams({});
  const { vocabSize } = llm.config;
  return {
    defaultTopK: topK === 0 ? vocabSize : topK,
    maxTopK: vocabSize,
    defaultTemperature: temperature,
    maxTemperature: MAX_TEMPERATURE,
  };
}

/** @throws TypeError, RangeError */
export function sessionSampling(llm: LLM, options: SamplingChoice): SessionSampling {
  const { samplingMode = 'default', temperature, topK } = options;
  const { defaultTemperature, maxTemperature, defaultTopK, maxTopK } = params(llm);
  if (!Object.hasOwn(FACTORS, samplingMode)) {
    throw new TypeError(`samplingMode is '${samplingMode}'; expected one of ${Object.keys(FACTORS).join(', ')}.`);
  }
  if (options.samplingMode !== undefined && (temperature !== undefined || topK !== undefined)) {
    throw new TypeError('Give samplingMode, or temperature and topK, not both.');
  }
  if (temperature !== undefined && !(temperature >= 0)) {
    throw new RangeError(`temperature is ${temperature}; expected at least 0.`);
  }
  if (topK !== undefined && !(topK >= 1)) throw new RangeError(`topK is ${topK}; expected at least 1.`);
  return {
    samplingMode,
    temperature: Math.min(temperature ?? defaultTemperature * FACTORS[samplingMode], maxTemperature),
    topK: Math.min(Math.trunc(topK ?? defaultTopK), maxTopK),
  };
}
