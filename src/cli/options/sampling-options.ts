import { readFileSync } from 'node:fs';
import { type GenerateOptions, resolveSamplingParams } from '../../engine/sample/sampling-params.ts';
import { SamplingParamsError } from '../../errors.ts';
import { asError } from '../../util/as-error.ts';
import { flag, flagName, ids, integer, number, type Option, text, texts, type Values } from './option.ts';
import { UsageError } from './usage-error.ts';

/** Options of generation. Values that are not given come from the model's generation_config.json. */
export const samplingOptions = {
  maxTokens: number('Tokens to generate at most (default: 256)', 'n'),
  minTokens: number('Do not end the text before this many tokens'),
  temperature: number("0 takes the likeliest token (default: the model's, else 1)", 't'),
  topP: number('Keep the likeliest tokens that together have this probability'),
  topK: number('Keep this many of the likeliest tokens; 0 keeps all'),
  minP: number("Least probability of a token, relative to the likeliest one's"),
  repetitionPenalty: number('Above 1, tokens of the prompt and the answer become less likely'),
  presencePenalty: number('Above 0, tokens of the answer become less likely'),
  frequencyPenalty: number('Above 0, tokens become less likely each time that the answer repeats them'),
  logitBias: bias("Add to a token's logit, from -100 to 100"),
  badWords: texts('text', 'Text that the answer must not have'),
  allowedTokenIds: ids('The only tokens that the answer may have'),
  jsonSchema: text('schema', 'JSON Schema that the answer must fit, or its file (needs @mlc-ai/web-xgrammar)'),
  seed: integer('The same seed gives the same text; -1 takes a random seed'),
  stop: texts('text', 'Text that ends the answer; it is left out'),
  stopTokenIds: ids('Tokens that end the answer'),
  includeStopStrInOutput: flag('Keep the --stop text that ended the answer'),
  ignoreEos: flag("Continue past the model's end of text"),
  noSkipSpecialTokens: flag('Show tokens such as <|endoftext|>'),
};

/** Further options of an answer, for programs that read it. */
export const answerOptions = {
  n: number('Answers to generate (-n is --max-tokens); answer i uses the seed plus i'),
  logprobs: number('With --json: log probabilities of the tokens, and this many of the likeliest in place of each'),
  promptLogprobs: number("With --json: the same for the prompt's tokens"),
  halfLifeInterval: number('With --json: every so many tokens, how long each head remembers'),
  priority: number('Requests with a lower number start first'),
};

type SamplingValues = Values<typeof samplingOptions> & Partial<Values<typeof answerOptions>>;

/**
 * The values as options of the engine, checked now: what is out of range should not wait for a download.
 * @throws UsageError
 */
export function readSampling(values: SamplingValues): GenerateOptions {
  const options: GenerateOptions = {
    maxTokens: values.maxTokens,
    minTokens: values.minTokens,
    temperature: values.temperature,
    topP: values.topP,
    topK: values.topK,
    minP: values.minP,
    repetitionPenalty: values.repetitionPenalty,
    presencePenalty: values.presencePenalty,
    frequencyPenalty: values.frequencyPenalty,
    logitBias: values.logitBias,
    badWords: values.badWords,
    allowedTokenIds: values.allowedTokenIds.length > 0 ? values.allowedTokenIds : undefined,
    structuredOutputs: values.jsonSchema === undefined ? undefined : { json: schemaIn(values.jsonSchema) },
    seed: values.seed,
    stop: values.stop,
    stopTokenIds: values.stopTokenIds,
    includeStopStrInOutput: values.includeStopStrInOutput,
    ignoreEos: values.ignoreEos,
    skipSpecialTokens: !values.noSkipSpecialTokens,
    n: values.n,
    logprobs: values.logprobs,
    promptLogprobs: values.promptLogprobs,
    halfLifeInterval: values.halfLifeInterval,
    priority: values.priority,
  };
  try {
    resolveSamplingParams(options, {});
  } catch (error) {
    if (!(error instanceof SamplingParamsError)) throw error;
    throw new UsageError(error.param === undefined ? error.message : error.messageFor(flagName(error.param)));
  }
  return options;
}

/** A schema that is given as it is, or else the text of its file. @throws UsageError */
function schemaIn(given: string): string {
  if (given.trimStart().startsWith('{')) return given;
  try {
    return readFileSync(given, 'utf8');
  } catch (error) {
    throw new UsageError(`--json-schema: ${asError(error).message}.`);
  }
}

/** Pairs of a token id and a number: `5=-100,7=2.5`, in one use of the option or several. */
function bias(description: string): Option<ReadonlyMap<number, number>> {
  const read = (given: readonly string[], flag: string) => {
    const pairs = given
      .flatMap((list) => list.split(','))
      .map((pair) => {
        const [, id, value] = /^\s*(\d{1,9})\s*[=:]\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*$/.exec(pair) ?? [];
        if (id === undefined)
          throw new UsageError(`${flag} holds '${pair}'; expected pairs with commas, such as 5=-100,7=2.5.`);
        return [Number(id), Number(value)] as const;
      });
    return new Map(pairs);
  };
  return { placeholder: 'id=number', description: `${description} (repeatable)`, short: undefined, read };
}
