import { existsSync } from 'node:fs';
import { mkdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { getLlama, type LlamaContextSequence, LlamaLogLevel, type Token } from 'node-llama-cpp';
import { Checkpoint } from '../src/checkpoint/checkpoint.ts';
import { formatTable } from '../src/cli/terminal/table.ts';
import { LLM } from '../src/engine/llm.ts';
import { TextTokenizer } from '../src/text/tokenizer.ts';
import { run, say } from './child-process.ts';
import { build } from './llama-cpp.ts';
import { writeTrainedMamba2 } from './synthetic-gguf.ts';

/**
 * Perplexity of the bundled model as GGUF files, in llama.cpp (through node-llama-cpp) and here, over the same tokens of
 * the same text. Ends with 1 if the two differ by more than half a percent.
 */
const ROOT = join(import.meta.dirname, '..');
const MODEL = join(ROOT, 'models', 'tiny-dts');
const FOLDER = join(import.meta.dirname, '.build', 'models');
const QUANTIZATIONS = ['Q8_0', 'Q4_K_M'] as const;
/** Declaration files, which the model was trained on others of. */
const TEXTS = ['fs.d.ts', 'http.d.ts', 'crypto.d.ts'].map((file) => join(ROOT, 'node_modules', '@types', 'node', file));
const LIMIT = 0.005;

const { values } = parseArgs({
  options: {
    tokens: { type: 'string', default: '16384' },
    window: { type: 'string', default: '2048' },
    json: { type: 'boolean', default: false },
  },
});

const windows = await readWindows(Number(values.tokens), Number(values.window));
const { release, bin } = await build();
const results = [];
for (const quantization of QUANTIZATIONS) {
  const path = await prepareModel(bin, quantization);
  const theirs = await perplexityOfTheirs(path);
  const ours = await perplexityOfOurs(path);
  results.push({ quantization, ours, theirs, difference: ours / theirs - 1 });
}
if (results.some(({ difference }) => Math.abs(difference) > LIMIT)) process.exitCode = 1;
const tokens = windows.reduce((sum, { length }) => sum + length - 1, 0);
if (values.json) process.stdout.write(`${JSON.stringify({ tokens, release, results })}\n`);
else {
  const rows = results.map(({ quantization, ours, theirs, difference }) => [
    quantization,
    ours.toFixed(4),
    theirs.toFixed(4),
    `${(100 * difference).toFixed(2)} %`,
  ]);
  process.stdout.write(`Perplexity over ${tokens} tokens\n\n`);
  process.stdout.write(`${formatTable([['', 'mamba2', `llama.cpp ${release}`, 'difference'], ...rows])}\n`);
}

/** The texts' tokens in pieces that are read one by one, each from an empty state. */
async function readWindows(count: number, length: number): Promise<number[][]> {
  const tokenizer = await TextTokenizer.fromFolder(MODEL);
  if (tokenizer === undefined) throw new Error(`'${MODEL}' has no tokenizer.`);
  const each = Math.ceil(count / TEXTS.length);
  const ids: number[] = [];
  for (const text of TEXTS) ids.push(...tokenizer.encode(await readFile(text, 'utf8')).slice(0, each));
  return Array.from({ length: Math.ceil(ids.length / length) }, (_, i) => ids.slice(i * length, (i + 1) * length));
}

/** → the path of the model in one quantization, made by llama.cpp's own program */
async function prepareModel(programs: string, quantization: string): Promise<string> {
  const path = join(FOLDER, `tiny-dts-${quantization}.gguf`);
  if (existsSync(path)) return path;
  await mkdir(FOLDER, { recursive: true });
  const whole = join(FOLDER, 'tiny-dts-BF16.gguf');
  if (!existsSync(whole)) {
    const checkpoint = await Checkpoint.open(MODEL);
    await writeTrainedMamba2(`${whole}.partial`, checkpoint, 'BF16');
    await checkpoint.close();
    await rename(`${whole}.partial`, whole);
  }
  say(`writing ${path}`);
  await run(join(programs, 'llama-quantize'), [whole, `${path}.partial`, quantization]);
  await rename(`${path}.partial`, path);
  return path;
}

async function perplexityOfOurs(path: string): Promise<number> {
  const llm = await LLM.load(path, { device: 'cpu', dtype: 'auto' });
  const all: number[] = [];
  for (const ids of windows) all.push(...(await llm.logprobs(ids)));
  await llm.dispose();
  return perplexity(all);
}

async function perplexityOfTheirs(path: string): Promise<number> {
  const llama = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.error });
  const model = await llama.loadModel({ modelPath: path });
  const context = await model.createContext({ contextSize: Math.max(...windows.map(({ length }) => length)) + 8 });
  const sequence = context.getSequence();
  const all: number[] = [];
  for (const ids of windows) {
    await sequence.clearHistory();
    all.push(...(await logprobs(sequence, ids)));
  }
  await llama.dispose();
  return perplexity(all);
}

/** Natural log of the probability of each token but the first. */
async function logprobs(sequence: LlamaContextSequence, ids: readonly number[]): Promise<number[]> {
  const tokens = ids as readonly Token[];
  // All tokens in the running: no sampler takes any away.
  const options = { temperature: 1, topK: 0, topP: 1, minP: 0 };
  const outputs = await sequence.controlledEvaluate(
    tokens.slice(0, -1).map((token, i) => {
      const logits = { filter: { tokens: [tokens[i + 1]], includeTop: 1 } };
      return [token, { generateNext: { logits, totalLogitWeight: true, options } }];
    }),
  );
  return outputs.map((output, i) => {
    const { logits, totalLogitWeight } = output?.next ?? {};
    const own = logits?.get(tokens[i + 1]);
    if (logits === undefined || own === undefined || totalLogitWeight === undefined) {
      throw new Error(`llama.cpp gave no logits for token ${i}.`);
    }
    return own - Math.max(...logits.values()) - Math.log(totalLogitWeight);
  });
}

function perplexity(logs: readonly number[]): number {
  return Math.exp(-logs.reduce((sum, log) => sum + log, 0) / logs.length);
}
