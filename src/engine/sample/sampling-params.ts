import { SamplingParamsError } from '../../errors.ts';
import { checkedStructuredOutputs, type StructuredOutputs } from '../../grammar/forms/structured-outputs.ts';
import type { ThoughtMarkers } from '../../text/parsers/thought-text.ts';
import { shown } from '../../util/shown.ts';
import type { LogitsProcessor } from './logits-processor.ts';

/** How thoughts before an answer are written, and how long they may be. */
export interface Thoughts extends ThoughtMarkers {
  /** Number of tokens after which thoughts end; then come the tokens of the end marker. Default: none. */
  readonly budget?: { readonly tokens: number; readonly endTokenIds: readonly number[] } | undefined;
}

/** Probabilities before or after what forbids and changes tokens. */
export type LogprobsMode = 'raw_logprobs' | 'processed_logprobs';

const LOGPROBS_MODES: readonly LogprobsMode[] = ['raw_logprobs', 'processed_logprobs'];

/** Options of one generation. All are optional; names and meanings are vLLM's. */
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
  /** Above 0, tokens that the answer has already become less likely. */
  readonly presencePenalty?: number | undefined;
  /** Above 0, tokens become less likely with each time that the answer has them. */
  readonly frequencyPenalty?: number | undefined;
  /** Added to the logits of these token ids: from -100 to 100. */
  readonly logitBias?: Readonly<Record<number, number>> | ReadonlyMap<number, number> | undefined;
  /**
   * A whole number of 64 bits with a sign; above 2^53 as a bigint, which alone is exact there. The same seed gives the
   * same text. Answer `index` of several is what `seed + index` gives alone. -1, as when absent: a random one.
   */
  readonly seed?: number | bigint | undefined;
  /** Answers to generate: up to 128. Default: 1. */
  readonly n?: number | undefined;
  /** Number of tokens before which nothing ends the text, neither stops nor its end-of-text token. Default: 0. */
  readonly minTokens?: number | undefined;
  /** Strings that end the text; they are not part of it. At most 1024, of 65,536 characters together. */
  readonly stop?: string | readonly string[] | undefined;
  /** Keeps the stop string that ended the text as part of it. Default: false. */
  readonly includeStopStrInOutput?: boolean | undefined;
  /** Tokens that end the text, besides the model's own end of text. */
  readonly stopTokenIds?: readonly number[] | undefined;
  /** Continues after the model's end-of-text token. */
  readonly ignoreEos?: boolean | undefined;
  /** Leaves tokens such as `<|endoftext|>` out of the text. Default: true. */
  readonly skipSpecialTokens?: boolean | undefined;
  /** Strings whose tokens never come in this order. At most 1024, of 65,536 characters together. */
  readonly badWords?: readonly string[] | undefined;
  /**
   * The only tokens that the answer may have, at least one. It ends before `maxTokens` only if these can end it: name an
   * end of text, too. Default: all.
   */
  readonly allowedTokenIds?: readonly number[] | undefined;
  /**
   * Functions of your own that change the logits of each next token, one after the other, before anything else does: what
   * other options forbid stays forbidden. One that fails ends its request with LogitsProcessorError. On `webgpu` the
   * request's logits then come to the host, 4 bytes per token of the vocabulary and step, and the next step is not begun
   * before its token is chosen. Default: none.
   */
  readonly logitsProcessors?: readonly LogitsProcessor[] | undefined;
  /** Form that the answer must have. Needs the package `@mlc-ai/web-xgrammar`. */
  readonly structuredOutputs?: StructuredOutputs | undefined;
  /**
   * Thoughts that the answer may begin with: stop strings do not end them. `llm.chat` and servers set this by the chat
   * template.
   */
  readonly thoughts?: Thoughts | undefined;
  /** Number of the likeliest tokens to give with each chosen one, up to 20. */
  readonly logprobs?: number | undefined;
  /**
   * Which probabilities `logprobs` are: the model's own, or those after what forbids and changes tokens: structuredOutputs, bad words,
   * biases, penalties and processors. Names are vLLM's. Default: `raw_logprobs`.
   */
  readonly logprobsMode?: LogprobsMode | undefined;
  /** Gives every prompt token's probability and rank, with this many of the likeliest in its place. */
  readonly promptLogprobs?: number | undefined;
  /**
   * Keeps this many of the prompt's last tokens, and leaves those before them out; -1: as many as fit with `maxTokens`.
   * Default: all, and a prompt that is too long is refused.
   */
  readonly truncatePromptTokens?: number | undefined;
  /** Tokens from one report of `halfLives` (how long each head remembers) to the next; the first token has one. */
  readonly halfLifeInterval?: number | undefined;
  /**
   * Tokens to guess at once, at most, of a model that was loaded with `speculativeConfig`; 0: none. Guesses never change a
   * text. Default: as many as the model was loaded for.
   */
  readonly numSpeculativeTokens?: number | undefined;
  /** Lower goes first when requests wait. Default: 0. */
  readonly priority?: number | undefined;
  /**
   * Keeps the states of this prompt and answer apart from those of other salts, and of requests without any: neither
   * `numCachedTokens` nor time then tells one user what another has asked. Default: none.
   */
  readonly cacheSalt?: string | undefined;
  /** Ends the generation; the iterator throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of one generation, complete and checked. */
export interface SamplingParams {
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
  /** 0: all. */
  readonly topK: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly logitBias: ReadonlyMap<number, number>;
  /** Whole number of 64 bits with a sign. */
  readonly seed: bigint;
  readonly n: number;
  readonly minTokens: number;
  readonly stop: readonly string[];
  readonly includeStopStrInOutput: boolean;
  readonly stopTokenIds: ReadonlySet<number>;
  readonly ignoreEos: boolean;
  readonly skipSpecialTokens: boolean;
  readonly badWords: readonly string[];
  /** undefined: all. */
  readonly allowedTokenIds: Int32Array | undefined;
  readonly logitsProcessors: readonly LogitsProcessor[];
  /** undefined: any text. */
  readonly structuredOutputs: StructuredOutputs | undefined;
  /** undefined: there are none. */
  readonly thoughts: Thoughts | undefined;
  /** undefined: none are given. */
  readonly logprobs: number | undefined;
  readonly logprobsMode: LogprobsMode;
  readonly promptLogprobs: number | undefined;
  /** undefined: half-lives are not asked for. */
  readonly halfLifeInterval: number | undefined;
  /** undefined: as many as the model was loaded for. */
  readonly numSpeculativeTokens: number | undefined;
}

/** Values that hold where a caller says nothing; a model's generation_config.json may bring its own. */
export type SamplingDefaults = Partial<
  Pick<SamplingParams, 'temperature' | 'topP' | 'topK' | 'minP' | 'repetitionPenalty'>
>;

/** Ranges of those values, in requests as in a model's file. */
export const SAMPLING_RANGES = {
  temperature: { min: 0 },
  topP: { above: 0, max: 1 },
  topK: { min: -1, integer: true },
  minP: { min: 0, max: 1 },
  repetitionPenalty: { above: 0 },
} as const satisfies Readonly<Record<keyof SamplingDefaults, Bounds>>;

export const DEFAULT_MAX_TOKENS = 256;

/** Limits of OpenAI's API. A request's cost grows with both numbers. */
const MAX_ANSWERS = 128;
const MAX_LOGPROBS = 20;

/**
 * Limits for stop strings and for bad words: their number, and their characters. Each token's text is compared with
 * them.
 */
export const MAX_TEXTS = 1024;
export const MAX_TEXT_CHARACTERS = 65_536;

/** @throws SamplingParamsError that names the parameter, its value and its range. */
export function resolveSamplingParams(options: GenerateOptions, defaults: SamplingDefaults): SamplingParams {
  const maxTokens = checked('maxTokens', options.maxTokens ?? DEFAULT_MAX_TOKENS, { min: 1, integer: true });
  const repetitionPenalty = options.repetitionPenalty ?? defaults.repetitionPenalty ?? 1;
  const topK = options.topK ?? defaults.topK ?? 0;
  return {
    maxTokens,
    temperature: checked('temperature', options.temperature ?? defaults.temperature ?? 1, SAMPLING_RANGES.temperature),
    topP: checked('topP', options.topP ?? defaults.topP ?? 1, SAMPLING_RANGES.topP),
    topK: Math.max(0, checked('topK', topK, SAMPLING_RANGES.topK)),
    minP: checked('minP', options.minP ?? defaults.minP ?? 0, SAMPLING_RANGES.minP),
    repetitionPenalty: checked('repetitionPenalty', repetitionPenalty, SAMPLING_RANGES.repetitionPenalty),
    presencePenalty: checked('presencePenalty', options.presencePenalty ?? 0, { min: -2, max: 2 }),
    frequencyPenalty: checked('frequencyPenalty', options.frequencyPenalty ?? 0, { min: -2, max: 2 }),
    logitBias: checkedBias(options.logitBias ?? {}),
    seed: checkedSeed(options.seed ?? RANDOM),
    n: checked('n', options.n ?? 1, { min: 1, max: MAX_ANSWERS, integer: true }),
    minTokens: checked('minTokens', options.minTokens ?? 0, { min: 0, max: maxTokens, integer: true }),
    stop: checkedTexts('stop', typeof options.stop === 'string' ? [options.stop] : (options.stop ?? [])),
    includeStopStrInOutput: options.includeStopStrInOutput ?? false,
    stopTokenIds: checkedIds(options.stopTokenIds ?? []),
    ignoreEos: options.ignoreEos ?? false,
    skipSpecialTokens: options.skipSpecialTokens ?? true,
    badWords: checkedTexts('badWords', options.badWords ?? []),
    allowedTokenIds: options.allowedTokenIds && checkedAllowed(options.allowedTokenIds),
    logitsProcessors: checkedProcessors(options.logitsProcessors ?? []),
    structuredOutputs: checkedStructuredOutputs(options.structuredOutputs),
    thoughts: options.thoughts,
    logprobs: checkedCount('logprobs', options.logprobs),
    logprobsMode: checkedMode(options.logprobsMode),
    promptLogprobs: checkedCount('promptLogprobs', options.promptLogprobs),
    halfLifeInterval: checkedInterval(options.halfLifeInterval),
    numSpeculativeTokens: checkedDrafts(options.numSpeculativeTokens),
  };
}

/** Number of tokens that thoughts may have. @throws SamplingParamsError */
export function checkedBudget(tokens: number): number {
  return checked('thinkingTokenBudget', tokens, { min: 0, integer: true });
}

/**
 * The tokens of a prompt that `truncatePromptTokens` keeps: its last ones.
 * @param room tokens that fit, for -1.
 * @throws SamplingParamsError
 */
export function truncatedPrompt<T extends ArrayLike<number>>(
  prompt: T,
  asked: number | undefined,
  room: number,
): T | number[] {
  if (asked === undefined) return prompt;
  const most =
    asked === ALL_THAT_FIT ? Math.max(1, room) : checked('truncatePromptTokens', asked, { min: 1, integer: true });
  return prompt.length <= most ? prompt : Array.prototype.slice.call(prompt, -most);
}

const ALL_THAT_FIT = -1;

/** @throws SamplingParamsError */
export function checkedSalt(salt: string | undefined): string | undefined {
  if (salt === undefined || (typeof salt === 'string' && salt !== '')) return salt;
  throw refusal('cacheSalt', `is ${JSON.stringify(salt)}; expected a text of at least one character.`);
}

/** Callers without types may give anything. */
function checkedList<T>(name: Param, list: readonly T[], expected: string): readonly T[] {
  if (Array.isArray(list) || ArrayBuffer.isView(list)) return list;
  throw refusal(name, `is ${shown(list)}; expected a list of ${expected}.`);
}

function checkedTexts(name: 'stop' | 'badWords', given: readonly string[]): readonly string[] {
  const texts = checkedList(name, given, 'texts');
  if (texts.length > MAX_TEXTS) {
    throw refusal(name, `has ${texts.length} strings; expected at most ${MAX_TEXTS}.`);
  }
  if (!texts.every((text) => typeof text === 'string' && text !== '')) {
    throw refusal(name, 'has an empty text.', 'Leave it out, or give at least one character.');
  }
  const characters = texts.reduce((sum, { length }) => sum + length, 0);
  if (characters > MAX_TEXT_CHARACTERS) {
    throw refusal(name, `has ${characters} characters; expected at most ${MAX_TEXT_CHARACTERS}.`);
  }
  return [...texts];
}

function checkedIds(tokenIds: readonly number[]): ReadonlySet<number> {
  const ids = new Set(checkedList('stopTokenIds', tokenIds, 'token ids'));
  for (const id of ids) checked('stopTokenIds', id, { min: 0, integer: true }, 'has the id');
  return ids;
}

function checkedAllowed(tokenIds: readonly number[]): Int32Array {
  checkedList('allowedTokenIds', tokenIds, 'token ids');
  if (tokenIds.length === 0) throw refusal('allowedTokenIds', 'is empty; expected at least one token id.');
  for (const id of tokenIds) checked('allowedTokenIds', id, { min: 0, max: 2 ** 31 - 1, integer: true }, 'has the id');
  return Int32Array.from(tokenIds);
}

function checkedProcessors(processors: readonly LogitsProcessor[]): readonly LogitsProcessor[] {
  // Callers without types may give anything.
  if (Array.isArray(processors) && processors.every((each) => typeof each === 'function')) return [...processors];
  throw refusal('logitsProcessors', 'is no list of functions.');
}

function checkedCount(name: 'logprobs' | 'promptLogprobs', count: number | undefined): number | undefined {
  return count === undefined ? undefined : checked(name, count, { min: 0, max: MAX_LOGPROBS, integer: true });
}

function checkedMode(mode: LogprobsMode = 'raw_logprobs'): LogprobsMode {
  if (LOGPROBS_MODES.includes(mode)) return mode;
  throw refusal('logprobsMode', `is ${JSON.stringify(mode)}; expected ${LOGPROBS_MODES.join(' or ')}.`);
}

function checkedInterval(interval: number | undefined): number | undefined {
  return interval === undefined ? undefined : checked('halfLifeInterval', interval, { min: 1, integer: true });
}

function checkedDrafts(count: number | undefined): number | undefined {
  return count === undefined ? undefined : checked('numSpeculativeTokens', count, { min: 0, integer: true });
}

function checkedBias(bias: NonNullable<GenerateOptions['logitBias']>): ReadonlyMap<number, number> {
  if (typeof bias !== 'object' || Array.isArray(bias)) {
    throw refusal('logitBias', `is ${shown(bias)}; expected an object or a Map from token ids to numbers.`);
  }
  // Callers without types may also have texts in a map.
  const entries: readonly (readonly [number | string, number])[] =
    bias instanceof Map ? [...bias] : Object.entries(bias);
  return new Map(entries.map(([id, value]) => [checkedId(id), checked('logitBias', value, { min: -100, max: 100 })]));
}

/** The token id that a text spells. `Number()` would take '', ' 1', '0x10' and '1e3' for numbers. */
function checkedId(id: number | string): number {
  const number = typeof id === 'string' && !WHOLE_NUMBER.test(id) ? Number.NaN : Number(id);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  const key = typeof id === 'string' ? `'${id}'` : id;
  throw refusal('logitBias', `has the key ${key}; expected token ids: whole decimal numbers such as 42.`);
}

const WHOLE_NUMBER = /^(0|[1-9]\d*)$/;

function checkedSeed(seed: number | bigint): bigint {
  const isWhole = typeof seed === 'bigint' || Number.isInteger(seed);
  const exact = isWhole ? BigInt(seed) : undefined;
  if (exact === undefined || BigInt.asIntN(64, exact) !== exact) {
    const range = '-9223372036854775808 to 9223372036854775807';
    throw refusal('seed', `is ${exact ?? seed}; expected an integer of 64 bits: ${range}.`);
  }
  return exact === BigInt(RANDOM) ? randomSeed() : exact;
}

/** Value for no seed, from clients that can't leave it out; vLLM and llama.cpp read it so. */
const RANDOM = -1;

type Param = keyof GenerateOptions | 'thinkingTokenBudget';

interface Bounds {
  readonly min?: number;
  readonly max?: number;
  readonly above?: number;
  readonly integer?: boolean;
}

function checked(name: Param, value: number, range: Bounds, verb = 'is'): number {
  const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY, above = Number.NEGATIVE_INFINITY } = range;
  const isNumber = range.integer ? Number.isSafeInteger(value) : Number.isFinite(value);
  if (isNumber && value >= min && value <= max && value > above) return value;
  const bounds = [
    range.above === undefined ? [] : `above ${range.above}`,
    range.min === undefined ? [] : `at least ${range.min}`,
    range.max === undefined ? [] : `at most ${range.max}`,
  ].flat();
  const expected = [range.integer ? 'an integer' : 'a number', bounds.join(' and ')].join(' ').trim();
  throw refusal(name, `${verb} ${shown(value)}; expected ${expected}.`);
}

function refusal(param: Param, problem: string, hint = ''): SamplingParamsError {
  return new SamplingParamsError(`${param} ${problem}`, hint, { param });
}

function randomSeed(): bigint {
  return crypto.getRandomValues(new BigInt64Array(1))[0];
}
