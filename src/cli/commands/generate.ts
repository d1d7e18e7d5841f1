import type { LLM } from '../../engine/llm.ts';
import { type GenerationChunk, generationChunks } from '../../engine/request/generation-chunk.ts';
import type { Prompt } from '../../engine/request/prompt.ts';
import type { FinishReason } from '../../engine/request/request-output.ts';
import type { GenerateOptions } from '../../engine/sample/sampling-params.ts';
import type { PromptTokenLogprob } from '../../engine/sample/token-logprob.ts';
import { defineCommand } from '../options/command.ts';
import { inJob } from '../options/in-job.ts';
import { contextOptions, loadWithProgress, type ModelValues, modelOptions } from '../options/model-options.ts';
import { flag, flagName, text, type Values } from '../options/option.ts';
import { readPrompt } from '../options/prompt.ts';
import { answerOptions, readSampling, samplingOptions } from '../options/sampling-options.ts';
import { openStates, stateStoreOptions } from '../options/state-store-options.ts';
import { UsageError } from '../options/usage-error.ts';
import { INTERRUPTED, Interrupt, InterruptedError } from '../terminal/interrupt.ts';
import { note, warn } from '../terminal/notes.ts';
import { print } from '../terminal/standard-output.ts';
import { AnswerPrinter } from './answer-printer.ts';
import { GenerationTimer, type Timings } from './generation-timer.ts';

/** An answer in the output of --json. */
interface AnswerResult {
  readonly tokenIds: number[];
  text: string;
  /** `abort`: ended by Ctrl-C. */
  finishReason: FinishReason | 'abort';
  /** One entry per token, if --logprobs asked for them. */
  readonly logprobs?: Pick<GenerationChunk, 'tokenId' | 'text' | 'logprob' | 'topLogprobs'>[];
  /** Half-lives by token, layer and head, if --half-life-interval asked for them. null: nothing is lost. */
  readonly halfLives?: { readonly token: number; readonly halfLives: number[][] }[];
}

/** Output of --json, with `timings`: the fields of the first answer, and `choices` where there are several. */
interface Result extends AnswerResult {
  readonly promptTokenIds: readonly number[];
  /** One entry per prompt token, null for the first. */
  readonly promptLogprobs?: readonly (PromptTokenLogprob | null)[];
  readonly choices?: readonly AnswerResult[];
}

const options = {
  prompt: text('text', 'What to continue; the same as [prompt]', 'p'),
  tokenIds: text('ids', 'The prompt as token ids: 1,2,3'),
  ...samplingOptions,
  ...answerOptions,
  echo: flag('Print the prompt too'),
  json: flag('Print one JSON object at the end: token ids, text, finish reason, timings'),
  ...modelOptions,
  ...contextOptions,
  ...stateStoreOptions,
};

type GenerateValues = Values<typeof options> & ModelValues;

/** `mamba2 generate` */
export const generate = defineCommand({
  details: [
    'The text is written to standard output as it is generated; notes and progress go to standard error.',
    'Without a prompt, standard input is the prompt, line ends included. Values that begin with a dash need',
    'an equals sign: --prompt=-x. For a model without a tokenizer, token ids are printed instead of text.',
  ].join(' '),
  options,
  examples: [
    "generate 'export interface User {' --max-tokens 60",
    "generate --prompt 'export declare class ' --temperature 0 --stop '}' --json",
    'generate --model org/name --dtype int8 < prompt.txt',
  ],
  run: (given, [positional]) => inJob(given, { lead: (values) => run(values, positional) }),
});

async function run(values: GenerateValues, positional: string | undefined): Promise<number> {
  const sampling = readSampling(values);
  for (const name of ['logprobs', 'promptLogprobs', 'halfLifeInterval'] as const) {
    if (values[name] === undefined || values.json) continue;
    throw new UsageError(`${flagName(name)} has no effect without --json.`, 'Add --json.');
  }
  const prompt = await readPrompt({ positional, prompt: values.prompt, tokenIds: values.tokenIds });
  const interrupt = new Interrupt();
  try {
    const timer = new GenerationTimer();
    const { n = 1 } = sampling;
    await using states = await openStates(values);
    const load = { maxNumSeqs: n, ...states.loadOptions };
    await using llm = await loadWithProgress(values, interrupt.signal, undefined, load);
    timer.loaded();
    const promptTokenIds = llm.tokenize(prompt);
    const { json } = values;
    if (values.echo && !json) await print(echoed(llm, prompt));
    const printer = json ? undefined : new AnswerPrinter(n, print);
    const result = await stream(llm, promptTokenIds, { ...sampling, signal: interrupt.signal }, timer, printer);
    await printer?.end();
    const timings = timer.timings(promptTokenIds.length);
    await print(json ? `${JSON.stringify({ ...result, timings })}\n` : '\n');
    if (!json) note(describe(timings), values.quiet);
    const isCut = [result, ...(result.choices ?? [])].some(({ finishReason }) => finishReason === 'length');
    if (values.jsonSchema !== undefined && isCut) {
      warn('The answer reached --max-tokens before it was whole, so it does not fit the schema.');
    }
    await states.flush(llm);
    return result.finishReason === 'abort' ? INTERRUPTED : 0;
  } finally {
    interrupt.close();
  }
}

async function stream(
  llm: LLM,
  promptTokenIds: readonly number[],
  options: GenerateOptions,
  timer: GenerationTimer,
  printer: AnswerPrinter | undefined,
): Promise<Result> {
  const { n = 1, logprobs, halfLifeInterval, priority, signal } = options;
  const answers = Array.from(
    { length: n },
    (): AnswerResult => ({
      tokenIds: [],
      text: '',
      finishReason: 'abort',
      ...(logprobs !== undefined && { logprobs: [] }),
      ...(halfLifeInterval !== undefined && { halfLives: [] }),
    }),
  );
  const params = llm.resolveSamplingParams(options);
  let promptLogprobs: Result['promptLogprobs'];
  try {
    const grammar = await llm.compileGrammar(params, signal);
    const request = { promptTokenIds, params, grammar, priority };
    for await (const output of llm.engine.addRequest(request, signal)) {
      promptLogprobs ??= output.promptLogprobs && [...output.promptLogprobs];
      for (const chunk of generationChunks(output)) {
        timer.token();
        add(answers[chunk.index], chunk);
        const written = llm.tokenizer ? chunk.text : `${chunk.tokenId} `;
        await printer?.write(chunk.index, written, chunk.finishReason !== null);
      }
    }
  } catch (error) {
    // The part that was generated is a result as well.
    if (!(error instanceof InterruptedError)) throw error;
  }
  return {
    promptTokenIds,
    ...(promptLogprobs && { promptLogprobs }),
    ...answers[0],
    ...(n > 1 && { choices: answers }),
  };
}

function add(answer: AnswerResult, { tokenId, text, logprob, topLogprobs, halfLives, finishReason }: GenerationChunk) {
  answer.logprobs?.push({ tokenId, text, logprob, ...(topLogprobs && { topLogprobs }) });
  if (halfLives) {
    const layers = halfLives.map((heads) => Array.from(heads));
    answer.halfLives?.push({ token: answer.tokenIds.length, halfLives: layers });
  }
  answer.tokenIds.push(tokenId);
  answer.text += text;
  answer.finishReason = finishReason ?? answer.finishReason;
}

function echoed(llm: LLM, prompt: Prompt): string {
  if (typeof prompt === 'string') return prompt;
  return llm.tokenizer ? llm.tokenizer.decode(prompt) : `${prompt.join(' ')} `;
}

function describe({ promptTokens, promptSeconds, completionTokens, tokensPerSecond, loadSeconds }: Timings): string {
  const speed = tokensPerSecond === null ? '' : `, ${tokensPerSecond.toFixed(1)} tokens/s`;
  const prefill = `prompt of ${promptTokens} in ${promptSeconds.toFixed(2)} s`;
  return `${completionTokens} tokens${speed}; ${prefill}; loaded in ${loadSeconds.toFixed(2)} s`;
}
