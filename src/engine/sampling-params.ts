import { SamplingParamsError } from '../errors.ts';

/** What a caller may say about one generation. Everything is optional; names and meanings are vLLM's. */
export interface GenerateOptions {
  /** Tokens to generate at most. Default: 256. */
  readonly maxTokens?: number | undefined;
  /** 0 takes the likeliest token. Default: the model's generation_config, else 1. */
  readonly temperature?: number | undefined;
  /** Likeliest tokens that together have this probability; 1 keeps all. */
  readonly topP?: number | undefined;
  /** Number of likeliest tokens; 0 or -1 keeps all. */
  readonly topK?: number | undefined;
  /** Least probability of a token, relative to the likeliest one's; 0 keeps all. */
  readonly minP?: number | undefined;
  /** Above 1, tokens of the prompt and the answer so far become less likely. */
  readonly repetitionPenalty?: number | undefined;
  /** The same seed gives the same text. */
  readonly seed?: number | undefined;
  /** Strings that end the text; they are not part of it. */
  readonly stop?: string | readonly string[] | undefined;
  /** Tokens that end the text, beside the model's own end of text. */
  readonly stopTokenIds?: readonly number[] | undefined;
  /** Goes on past the model's end-of-text token. */
  readonly ignoreEos?: boolean | undefined;
  /** Ends the generation; the iterator throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** The same, complete and checked. */
export interface SamplingParams {
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
  /** 0: all. */
  readonly topK: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly seed: number;
  readonly stop: readonly string[];
  readonly stopTokenIds: ReadonlySet<number>;
  readonly ignoreEos: boolean;
}

/** Values that hold where a caller says nothing; a model's generation_config.json may bring its own. */
export type SamplingDefaults = Partial<
  Pick<SamplingParams, 'temperature' | 'topP' | 'topK' | 'minP' | 'repetitionPenalty'>
>;

/** @throws SamplingParamsError that names the parameter, its value and its range. */
export function resolveSamplingParams(options: GenerateOptions, defaults: SamplingDefaults): SamplingParams {
  const topK = options.topK ?? defaults.topK ?? 0;
  const stop = typeof options.stop === 'string' ? [options.stop] : (options.stop ?? []);
  if (stop.some((text) => typeof text !== 'string' || text === '')) {
    throw new SamplingParamsError('A stop string is empty.', 'Leave it out, or give at least one character.');
  }
  return {
    maxTokens: checked('maxTokens', options.maxTokens ?? 256, { min: 1, integer: true }),
    temperature: checked('temperature', options.temperature ?? defaults.temperature ?? 1, { min: 0 }),
    topP: checked('topP', options.topP ?? defaults.topP ?? 1, { above: 0, max: 1 }),
    topK: Math.max(0, checked('topK', topK, { min: -1, integer: true })),
    minP: checked('minP', options.minP ?? defaults.minP ?? 0, { min: 0, max: 1 }),
    repetitionPenalty: checked('repetitionPenalty', options.repetitionPenalty ?? defaults.repetitionPenalty ?? 1, {
      above: 0,
    }),
    seed: checked('seed', options.seed ?? randomSeed(), { integer: true }),
    stop,
    stopTokenIds: new Set(options.stopTokenIds ?? []),
    ignoreEos: options.ignoreEos ?? false,
  };
}

interface Range {
  readonly min?: number;
  readonly max?: number;
  readonly above?: number;
  readonly integer?: boolean;
}

function checked(name: string, value: number, range: Range): number {
  const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY, above = Number.NEGATIVE_INFINITY } = range;
  const isNumber = range.integer ? Number.isSafeInteger(value) : Number.isFinite(value);
  if (isNumber && value >= min && value <= max && value > above) return value;
  const bounds = [
    range.above === undefined ? [] : `above ${range.above}`,
    range.min === undefined ? [] : `at least ${range.min}`,
    range.max === undefined ? [] : `at most ${range.max}`,
  ].flat();
  const expected = [range.integer ? 'an integer' : 'a number', bounds.join(' and ')].join(' ').trim();
  throw new SamplingParamsError(`${name} is ${value}; expected ${expected}.`);
}

function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}
