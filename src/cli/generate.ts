import type { LLM } from '../engine/llm.ts';
import type { Prompt } from '../engine/prompt.ts';
import type { FinishReason } from '../engine/request-output.ts';
import type { GenerateOptions } from '../engine/sampling-params.ts';
import { defineCommand } from './command.ts';
import { GenerationTimer, type Timings } from './generation-timer.ts';
import { INTERRUPTED, Interrupt, InterruptedError } from './interrupt.ts';
import { loadModel, modelOptions } from './model-options.ts';
import { note } from './notes.ts';
import { flag, text } from './option.ts';
import { readPrompt } from './prompt.ts';
import { readSampling, samplingOptions } from './sampling-options.ts';
import { print } from './standard-output.ts';

/** What --json prints, with `timings`. */
interface Result {
  readonly promptTokenIds: readonly number[];
  readonly tokenIds: readonly number[];
  readonly text: string;
  /** `abort`: ended by Ctrl-C. */
  readonly finishReason: FinishReason | 'abort';
}

/** `mamba2 generate` */
export const generate = defineCommand({
  name: 'generate',
  summary: 'Continue a prompt',
  positionals: ['prompt?'],
  details: [
    'The text goes to standard output as it comes into being; notes and progress go to standard error.',
    'Without a prompt, standard input is the prompt, line ends included. Values that begin with a dash need',
    'an equals sign: --prompt=-x. For a model without a tokenizer, token ids are printed instead of text.',
  ].join('\n'),
  options: {
    prompt: text('text', 'What to continue; the same as [prompt]', 'p'),
    tokenIds: text('ids', 'The prompt as token ids: 1,2,3'),
    ...samplingOptions,
    echo: flag('Print the prompt as well'),
    json: flag('Print one JSON object at the end: token ids, text, finish reason, timings'),
    ...modelOptions,
  },
  examples: [
    "generate 'export interface User {' --max-tokens 60",
    "generate --prompt 'export declare class ' --temperature 0 --stop '}' --json",
    'generate --model org/name --dtype int8 < prompt.txt',
  ],
  run: async (values, [positional]) => {
    const sampling = readSampling(values);
    const prompt = await readPrompt({ positional, prompt: values.prompt, tokenIds: values.tokenIds });
    const interrupt = new Interrupt();
    try {
      const timer = new GenerationTimer();
      await using llm = await loadModel(values, interrupt.signal);
      timer.loaded();
      const promptTokenIds = llm.tokenize(prompt);
      const { json } = values;
      if (values.echo && !json) await print(echoed(llm, prompt));
      const write = json ? undefined : print;
      const result = await stream(llm, promptTokenIds, { ...sampling, signal: interrupt.signal }, timer, write);
      const timings = timer.timings(promptTokenIds.length);
      await print(json ? `${JSON.stringify({ ...result, timings })}\n` : '\n');
      if (!json) note(describe(timings), values.quiet);
      return result.finishReason === 'abort' ? INTERRUPTED : 0;
    } finally {
      interrupt.close();
    }
  },
});

async function stream(
  llm: LLM,
  promptTokenIds: readonly number[],
  options: GenerateOptions,
  timer: GenerationTimer,
  write: ((text: string) => Promise<void>) | undefined,
): Promise<Result> {
  const tokenIds: number[] = [];
  let text = '';
  let finishReason: Result['finishReason'] = 'abort';
  try {
    for await (const chunk of llm.generate(promptTokenIds, options)) {
      timer.token();
      tokenIds.push(chunk.tokenId);
      text += chunk.text;
      finishReason = chunk.finishReason ?? finishReason;
      await write?.(llm.tokenizer ? chunk.text : `${chunk.tokenId} `);
    }
  } catch (error) {
    // What there is by then is a result as well.
    if (!(error instanceof InterruptedError)) throw error;
  }
  return { promptTokenIds, tokenIds, text, finishReason };
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
