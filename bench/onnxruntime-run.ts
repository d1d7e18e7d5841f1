// Measures one workload in onnxruntime and prints the rates as JSON: a program of its own, so that every round starts
// anew. Called with the workload and the dtype as one JSON text.
import { OnnxSession } from './onnx-session.ts';
import type { OnnxDType } from './synthetic-onnx.ts';
import { decodeName, prefillName, type Workload } from './workload.ts';

/** Numbers of tokens that `mamba2 bench` also uses. */
const STEP_TOKENS = 512;
const SHORT_PROMPT = 8;

const { dtype, ...workload }: Workload & { readonly dtype: OnnxDType } = JSON.parse(process.argv[2]);
const session = await OnnxSession.load(workload.shape, dtype, workload.threads);
const rates: Record<string, number> = {};
for (const tokens of workload.promptTokens) rates[prefillName(tokens)] = await measured(() => prefill(tokens));
for (const sequences of [1, workload.sequences]) {
  rates[decodeName(sequences)] = await measured(() => decode(sequences, workload.generateTokens));
}
process.stdout.write(`${JSON.stringify(rates)}\n`);

/** The second of two runs. */
async function measured(run: () => Promise<number>): Promise<number> {
  await run();
  return run();
}

/** One prompt in steps. → tokens per second */
async function prefill(tokens: number): Promise<number> {
  session.begin(1);
  const begin = performance.now();
  for (let done = 0; done < tokens; done += STEP_TOKENS) {
    await session.step(tokenIds(Math.min(STEP_TOKENS, tokens - done)));
  }
  return (tokens * 1000) / (performance.now() - begin);
}

/** Steps of one token per sequence. → tokens of all sequences per second */
async function decode(sequences: number, steps: number): Promise<number> {
  session.begin(sequences);
  await session.step(tokenIds(sequences * SHORT_PROMPT));
  const begin = performance.now();
  for (let step = 0; step < steps; step++) await session.step(tokenIds(sequences));
  return (sequences * steps * 1000) / (performance.now() - begin);
}

/** Token ids. Their values do not matter for the speed, as long as rows of the table are far apart. */
function tokenIds(count: number): number[] {
  return Array.from({ length: count }, (_, i) => (i * 7919) % session.vocabSize);
}
