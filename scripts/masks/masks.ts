// Measures what forms of answers cost, by the processor's time. First how long the first form of a
// vocabulary of 100,000 tokens holds the event loop, and its masks. Then answers of the bundled model with a form against those
// without, in turns.
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Grammars, type TokenGrammar } from '../../src/grammar/grammars.ts';
import { hasBit, keepAllowed, type TokenBits } from '../../src/grammar/token-bits.ts';
import { type GenerateOptions, LLM, type StructuredOutputs } from '../../src/index.ts';
import { median } from '../load/percentiles.ts';
import { seededRandom } from '../load/seeded-random.ts';
import { largeVocabulary } from './large-vocabulary.ts';

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '7' }, tokens: { type: 'string', default: '64' } },
});
const rounds = Number(values.rounds);
const maxTokens = Number(values.tokens);

const VOCABULARY = 100_000;
const MASKS = 60;
const BATCHES = [1, 16];
const MODEL = fileURLToPath(new URL('../../models/tiny-dts/', import.meta.url));
const FORM: StructuredOutputs = {
  json: {
    type: 'array',
    items: {
      type: 'object',
      properties: {
        name: { type: 'string' },
        age: { type: 'integer', minimum: 0, maximum: 130 },
        kind: { enum: ['red', 'green', 'greenish'] },
        tags: { type: 'array', items: { type: 'string' } },
      },
      required: ['name', 'age', 'kind'],
    },
    minItems: 60,
  },
};

/** Milliseconds of the processor. */
interface Spent {
  readonly thread: number;
  readonly process: number;
}

const milliseconds = ({ user, system }: NodeJS.CpuUsage) => (user + system) / 1000;
const spent = (): Spent => ({
  thread: milliseconds(process.threadCpuUsage()),
  process: milliseconds(process.cpuUsage()),
});

/** What each of `count` things takes of the work. */
async function measured(count: () => number, work: () => Promise<void>): Promise<Spent> {
  const before = spent();
  await work();
  const after = spent();
  return {
    thread: (after.thread - before.thread) / count(),
    process: (after.process - before.process) / count(),
  };
}

async function answers(llm: LLM, batch: number, options: GenerateOptions): Promise<Spent> {
  const complete = async (seed: number) => {
    const { finishReason } = await llm.complete('export interface User {', { maxTokens, seed, ...options });
    if (finishReason !== 'length') throw new Error('An answer ended early: take fewer --tokens.');
  };
  return measured(
    () => batch * maxTokens,
    async () => void (await Promise.all(Array.from({ length: batch }, (_, seed) => complete(seed)))),
  );
}

async function compareAnswers(): Promise<void> {
  const llm = await LLM.load(MODEL, { device: 'cpu', maxNumSeqs: Math.max(...BATCHES) });
  for (const batch of BATCHES) {
    const runs = { free: [] as Spent[], formed: [] as Spent[] };
    for (let round = -1; round < rounds; round++) {
      const free = await answers(llm, batch, { ignoreEos: true, temperature: 1 });
      const formed = await answers(llm, batch, { structuredOutputs: FORM, temperature: 1 });
      if (round < 0) continue;
      runs.free.push(free);
      runs.formed.push(formed);
    }
    for (const part of ['thread', 'process'] as const) {
      const ratio = median(runs.free.map((free, i) => runs.formed[i][part] / free[part]));
      const [free, formed] = [runs.free, runs.formed].map((of) => median(of.map((each) => each[part])).toFixed(3));
      console.log(
        `batch ${batch}, ${part}: ${free} ms a token without a form, ${formed} with one, ${ratio.toFixed(2)} times`,
      );
    }
  }
  await llm.dispose();
}

/** The longest time of the processor between two turns of the event loop, while work goes on. */
async function longestHold(work: () => Promise<void>): Promise<number> {
  let longest = 0;
  let last = spent().thread;
  let isOver = false;
  const look = () => {
    const now = spent().thread;
    longest = Math.max(longest, now - last);
    last = now;
    if (!isOver) setImmediate(look);
  };
  setImmediate(look);
  await work();
  isOver = true;
  return longest;
}

/** Answers of random tokens that the form allows, all of which wait for their masks together. */
async function follow(grammar: TokenGrammar, batch: number, random: () => number): Promise<Spent> {
  const logits = Float32Array.from({ length: VOCABULARY }, () => random());
  const scores = logits.slice();
  const running = Array.from({ length: batch }, () => grammar.begin());
  let choosing = 0;
  const result = await measured(
    () => batch * MASKS,
    async () => {
      for (let step = 0; step < MASKS; step++) {
        for (const answer of running) {
          const bits = answer.allowed([0], new Set());
          keepAllowed(scores, logits, bits);
          const begin = spent().thread;
          const tokenId = anyAllowed(bits, random);
          choosing += spent().thread - begin;
          answer.accept(tokenId);
        }
        await Promise.all(running.map((answer) => answer.whenReady()));
      }
    },
  );
  for (const answer of running) answer.dispose();
  const without = choosing / (batch * MASKS);
  return { thread: result.thread - without, process: result.process - without };
}

/** A token that is allowed, but not the end. */
function anyAllowed(bits: TokenBits, random: () => number): number {
  let id = Math.floor(random() * VOCABULARY);
  while (id === 0 || !hasBit(bits, id)) id = (id + 1) % VOCABULARY;
  return id;
}

async function measureMasks(): Promise<void> {
  const grammars = new Grammars({ tokenizer: largeVocabulary(VOCABULARY), vocabSize: VOCABULARY, endTokenIds: [0] });
  // Workers of forms do not keep a program alive.
  const alive = setInterval(() => {}, 1000);
  const begin = performance.now();
  const hold = await longestHold(async () => void (await grammars.compile(FORM)));
  const first = performance.now() - begin;
  console.log(
    `the first form: ${first.toFixed(0)} ms, of which it held the event loop for ${hold.toFixed(1)} ms at most`,
  );
  const grammar = await grammars.compile(FORM);
  for (const batch of BATCHES) {
    const runs: Spent[] = [];
    for (let round = 0; round < rounds; round++) runs.push(await follow(grammar, batch, seededRandom(round)));
    const thread = median(runs.map((each) => each.thread));
    const worker = median(runs.map((each) => each.process - each.thread));
    console.log(
      `batch ${batch}: ${thread.toFixed(3)} ms a mask in the program's thread, ${worker.toFixed(3)} in the worker`,
    );
  }
  clearInterval(alive);
  grammars.dispose();
}

await measureMasks();
await compareAnswers();
