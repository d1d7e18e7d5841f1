import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { MODEL_SHAPES, type ModelShape } from '../../src/bench/model-shapes.ts';
import { say } from '../child-process.ts';
import { describeProcessor, thisProcessor } from '../processor.ts';
import { Contest } from './contest.ts';
import { prepareModels, removeModels } from './models.ts';
import { describe, type Round, summarize } from './report.ts';
import { type Contender, OUR_DTYPES, THEIR_DTYPES, type Workload } from './workload.ts';

const HELP = `Runs mamba2 and wllama in turns in headless Chromium, on models of the same shape and weights.

  --shape <name>    ${Object.keys(MODEL_SHAPES).join(', ')} (default: mamba2-130m)
  --dtypes <names>  of mamba2: ${OUR_DTYPES.join(',')} (default: all)
  --threads <n>     on both sides (default: all of the machine)
  --rounds <n>      (default: 5)
  --quick           one round of little work, to see that everything runs
  --json            the figures as one JSON object
  --clean           remove the models' files and end`;

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: 'mamba2-130m' },
    dtypes: { type: 'string', default: OUR_DTYPES.join(',') },
    threads: { type: 'string', default: `${availableParallelism()}` },
    rounds: { type: 'string' },
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    clean: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false, short: 'h' },
  },
});

try {
  await main();
} catch (error) {
  say(`error: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}

async function main(): Promise<void> {
  const { quick, json, clean, help } = values;
  if (help) return print(HELP);
  if (clean) return removeModels();
  const ours = values.dtypes.split(',').map((dtype): Contender => ({ library: 'mamba2', dtype: known(dtype) }));
  const theirs = THEIR_DTYPES.map((dtype): Contender => ({ library: 'wllama', dtype }));
  const rounds = whole(values.rounds ?? (quick ? '1' : '5'), '--rounds');
  const workload: Workload = {
    shape: knownShape(values.shape),
    threads: whole(values.threads, '--threads'),
    promptTokens: quick ? 64 : 512,
    generateTokens: quick ? 8 : 32,
  };
  await prepareModels(workload.shape);
  const contest = await Contest.open();
  try {
    const browser = await contest.browserName();
    const wllama = await contest.wllamaVersion();
    const works = summarize(await runRounds(contest, workload, [...theirs, ...ours], rounds));
    const processor = thisProcessor();
    if (json) return print(JSON.stringify({ ...workload, rounds, processor, browser, wllama, works }));
    const { shape, threads, promptTokens } = workload;
    print(`${shape}, threads: ${threads}, rounds: ${rounds}, ${browser}, wllama ${wllama}`);
    print(`${describeProcessor(processor)}\n`);
    print(describe(works, promptTokens));
  } finally {
    await contest.close();
  }
}

/** Measures all in turns, so that other work of the machine meets all alike; every other round runs backwards. */
async function runRounds(
  contest: Contest,
  workload: Workload,
  contenders: readonly Contender[],
  count: number,
): Promise<Round[]> {
  const rounds: Round[] = [];
  for (let i = 0; i < count; i++) {
    say(`round ${i + 1} of ${count}`);
    const round = [];
    for (const contender of i % 2 === 0 ? contenders : contenders.toReversed()) {
      const rates = await contest.measure(contender, workload);
      say(
        `  ${contender.library} ${contender.dtype}: ${rates.prefill.toFixed(1)}, ${rates.decode.toFixed(1)} tokens/s`,
      );
      round.push({ contender, rates });
    }
    rounds.push(round);
  }
  return rounds;
}

function known(dtype: string): string {
  if (OUR_DTYPES.some((name) => name === dtype)) return dtype;
  throw new Error(`--dtypes holds '${dtype}'; expected some of: ${OUR_DTYPES.join(', ')}.`);
}

function knownShape(shape: string): ModelShape {
  if (Object.hasOwn(MODEL_SHAPES, shape)) return shape as ModelShape;
  throw new Error(`--shape is '${shape}'; expected one of: ${Object.keys(MODEL_SHAPES).join(', ')}.`);
}

function whole(text: string, option: string): number {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
  throw new Error(`${option} is '${text}'; expected an integer at least 1.`);
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
