import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadSynthetic } from '../src/bench/load-synthetic.ts';
import { MODEL_SHAPES, type ModelShape } from '../src/bench/model-shapes.ts';
import { median } from '../src/bench/spread.ts';
import { LLMEngine } from '../src/engine/llm-engine.ts';
import type { Executor } from '../src/engine/run/executor.ts';
import type { LogitsProcessor } from '../src/engine/sample/logits-processor.ts';
import { resolveSamplingParams } from '../src/engine/sample/sampling-params.ts';
import type { Drafter, DraftSource } from '../src/engine/speculate/speculation.ts';
import type { SpeculativeConfig } from '../src/engine/speculate/speculative-config.ts';
import { LLM } from '../src/index.ts';
import { parseWeightDType } from '../src/tensor/dtype.ts';
import { describeProcessor, thisProcessor } from './processor.ts';
import { timedAnswer } from './timed-answer.ts';

/**
 * Tokens per second of one answer with guessed tokens and without. The model computes each of its own tokens, but a
 * processor of logits makes the answer a given text: so guesses are as right as they would be for a model that writes it.
 */
const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'tiny-dts' },
    shape: { type: 'string' },
    dtype: { type: 'string', default: 'int8' },
    threads: { type: 'string', default: '2' },
    draft: { type: 'string', default: '8' },
    tokens: { type: 'string', default: '256' },
    rounds: { type: 'string', default: '5' },
    task: { type: 'string', default: '' },
  },
});
const dtype = parseWeightDType(values.dtype);
const [draft, tokens, rounds] = [values.draft, values.tokens, values.rounds].map(Number);
const config: SpeculativeConfig = { method: 'ngram', numSpeculativeTokens: draft };

/** A prompt, and the answer to write. */
interface Task {
  readonly name: string;
  readonly prompt: readonly number[];
  readonly answer: readonly number[];
  readonly source?: DraftSource;
}

const tokenizerModel = await LLM.load('tiny-dts');
const encode = (text: string) => tokenizerModel.tokenizer?.encode(text) ?? [];
const read = (path: string) => readFile(join(import.meta.dirname, '..', path), 'utf8');
const file = (await read('src/engine/run/executor.ts')).slice(0, 6000);
const prose = (await read('docs/architecture.md')).slice(0, 12000);
const lines = file.split('\n');
const edited = file.replaceAll('snapshot', 'savedCopy').replaceAll('numTokens', 'tokenCount');
const quotes = lines
  .filter((line) => line.length > 40)
  .map((line, i) => `${prose.slice(120 * i, 120 * i + 60)}:\n> ${line}\n`)
  .join('');
const half = prose.length / 2;
const answerOf = (text: string) => encode(text).slice(0, tokens);
const texts: Task[] = [
  { name: 'a file with two names changed', prompt: encode(file), answer: answerOf(edited) },
  { name: 'a text that quotes', prompt: encode(file), answer: answerOf(quotes) },
  { name: 'prose', prompt: encode(prose.slice(0, half)), answer: answerOf(prose.slice(half)) },
];
const random = texts[2].prompt.map((_, i) => Math.imul(i + 1, 0x9e3779b1) >>> 22);
const noise = { prompt: random.slice(0, 100), answer: random.slice(100, 100 + tokens) };
texts.push({ name: 'noise', ...noise });
for (const rate of [0, 0.5, 0.7, 0.9, 1]) {
  texts.push({ name: `noise, guesses ${100 * rate} % right`, ...noise, source: guessing(noise.answer, 100, rate) });
}
await tokenizerModel.dispose();

const loaded = await load(draft);
process.stdout.write(`${values.shape ?? values.model}, ${values.dtype}, threads: ${values.threads}, `);
process.stdout.write(`${describeProcessor(thisProcessor())}\n\n`);
const names = ['tokens/s', 'with guesses', 'ratio', 'by processor time', 'right', 'tokens a step'];
process.stdout.write(`${names.map((name) => name.padStart(18)).join('')}\n`);
for (const task of texts.filter(({ name }) => name.includes(values.task))) {
  const plain: number[] = [];
  const guessed: number[] = [];
  const work: number[] = [];
  let rate = 0;
  let perStep = 0;
  for (let round = 0; round <= rounds; round++) {
    const without = await run(task, undefined);
    const withGuesses = await run(task, config);
    // The first round warms up.
    if (round === 0) continue;
    plain.push(without.rate);
    guessed.push(withGuesses.rate);
    work.push(without.work / withGuesses.work);
    [rate, perStep] = [withGuesses.acceptance, withGuesses.perStep];
  }
  const [a, b] = [median(plain), median(guessed)];
  const ratios = [(b / a).toFixed(2), median(work).toFixed(2)];
  const numbers = [a.toFixed(1), b.toFixed(1), ...ratios, `${(100 * rate).toFixed(0)} %`, perStep.toFixed(2)];
  process.stdout.write(`${numbers.map((number) => number.padStart(18)).join('')}  ${task.name}\n`);
}
await loaded.executor.dispose();

async function load(numSpeculativeTokens: number): Promise<{ executor: Executor; vocabSize: number }> {
  const size = Number(values.threads);
  if (values.shape !== undefined) {
    if (!Object.hasOwn(MODEL_SHAPES, values.shape)) throw new Error(`There is no shape '${values.shape}'.`);
    const shape = MODEL_SHAPES[values.shape as ModelShape];
    const options = { name: values.shape, device: 'cpu', dtype, slots: 2 } as const;
    const executor = await loadSynthetic({ config: shape, seed: 1 }, size, {
      ...options,
      checkFinite: false,
      numSpeculativeTokens,
    });
    return { executor, vocabSize: Number(shape.vocab_size) };
  }
  const { loadModel } = await import('../src/engine/load/load-model.ts');
  const options = { device: 'cpu', dtype, tensorParallelSize: size, maxNumSeqs: 2, speculativeConfig: config } as const;
  const { context, texts: threads } = await loadModel(values.model, options);
  await threads.dispose();
  return { executor: context.executor, vocabSize: context.vocabSize };
}

/** Generates the task's answer. */
async function run({ prompt, answer, source }: Task, speculativeConfig: SpeculativeConfig | undefined) {
  const { vocabSize } = loaded;
  const engine = new LLMEngine({
    executor: loaded.executor,
    tokenizer: undefined,
    eosTokenIds: [],
    vocabSize,
    maxNumSeqs: 2,
    maxNumBatchedTokens: 512,
    enablePrefixCaching: false,
    speculativeConfig,
    draftSource: speculativeConfig && source,
  });
  const params = resolveSamplingParams(
    { temperature: 0, maxTokens: answer.length, logitsProcessors: [forcing(answer, prompt.length)] },
    {},
  );
  engine.addRequest({ promptTokenIds: prompt, params });
  const timed = await timedAnswer(engine);
  const { draftTokens = 0, acceptedTokensPerPosition = [] } = engine.stats().speculation ?? {};
  const accepted = acceptedTokensPerPosition.reduce((sum, n) => sum + n, 0);
  const acceptance = draftTokens === 0 ? 0 : accepted / draftTokens;
  return { ...timed, acceptance };
}

/** Makes the answer a given one. */
function forcing(answer: readonly number[], promptLength: number): LogitsProcessor {
  return (tokenIds, logits) => {
    logits[answer[tokenIds.length - promptLength]] = 1e4;
  };
}

/** Guesses an answer that is known, each token right with a probability. */
function guessing(answer: readonly number[], promptLength: number, rate: number): DraftSource {
  const drafter: Drafter = {
    isFree: false,
    draft: ({ length }, count) =>
      answer.slice(length - promptLength, length - promptLength + count).map((id, i) => {
        const hash = Math.imul(length + i + 7, 0x85ebca6b) >>> 0;
        return ((hash >>> 8) & 0xffff) / 0x10000 < rate ? id : (id + 1) % 1024;
      }),
  };
  return { open: () => drafter, prepare: async () => {}, dispose: async () => {} };
}
