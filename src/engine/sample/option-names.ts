import { closestNames, editDistance } from '../../checkpoint/closest-names.ts';
import { ArgumentError } from '../../errors.ts';
import type { GenerateOptions } from './sampling-params.ts';

/** The names of all options of a type. */
export type OptionNames<T> = { readonly [Name in keyof Required<T>]: true };

/** Names of the options of `llm.generate`. */
export const GENERATE_OPTIONS: OptionNames<GenerateOptions> = {
  maxTokens: true,
  temperature: true,
  topP: true,
  topK: true,
  minP: true,
  repetitionPenalty: true,
  presencePenalty: true,
  frequencyPenalty: true,
  logitBias: true,
  seed: true,
  n: true,
  minTokens: true,
  stop: true,
  includeStopStrInOutput: true,
  stopTokenIds: true,
  ignoreEos: true,
  skipSpecialTokens: true,
  badWords: true,
  allowedTokenIds: true,
  logitsProcessors: true,
  structuredOutputs: true,
  thoughts: true,
  logprobs: true,
  logprobsMode: true,
  promptLogprobs: true,
  truncatePromptTokens: true,
  halfLifeInterval: true,
  numSpeculativeTokens: true,
  priority: true,
  cacheSalt: true,
  signal: true,
};

/**
 * Refuses options with other names: most are misspelt, and what they were meant to change would stay as it is in silence.
 * @throws ArgumentError
 */
export function checkOptionNames(options: object, known: Readonly<Record<string, true>>): void {
  const unknown = Object.entries(options).find(([name, value]) => value !== undefined && !Object.hasOwn(known, name));
  if (!unknown) return;
  const [name] = unknown;
  // Names on the wire are the same in snake_case.
  const inCamelCase = name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  const [closest] = closestNames(inCamelCase, Object.keys(known), 1);
  const isClose = 3 * editDistance(inCamelCase, closest) <= name.length;
  const hint = isClose ? `Did you mean '${closest}'?` : `Options are ${Object.keys(known).join(', ')}.`;
  throw new ArgumentError(`There is no option '${name}'.`, hint);
}
