import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { MODEL_SHAPES } from '../src/bench/model-shapes.ts';
import { STATE_DTYPES } from '../src/tensor/state-dtype.ts';
import { say } from './child-process.ts';
import { chosenKernels, compare, describeComparison, type Round } from './comparison.ts';
import { llamaCpp, removeModels } from './llama-cpp.ts';
import { onnxruntime } from './onnxruntime.ts';
import { requireOurs, runOurs } from './ours.ts';
import type { Peer } from './peer.ts';
import { describeProcessor, PROCESSORS, type ProcessorKind, requireProcessor, thisProcessor } from './processor.ts';
import { DTYPES, type DType, QUANTIZATIONS, type Workload } from './workload.ts';

const PEERS = { 'llama.cpp': llamaCpp, onnxruntime } as const;

const HELP = `Runs mamba2 and another program in turns on models of the same shape, weights and storage.

  --peer <name>          ${Object.keys(PEERS).join(', ')} (default: llama.cpp)
  --shape <name>         ${Object.keys(MODEL_SHAPES).join(', ')} (default: mamba2-130m)
  --dtypes <names>       of ${DTYPES.join(',')} (default: all that the other has),
                         or of ${QUANTIZATIONS.join(',')}: the same GGUF file on both sides
  --cpu <kind>           ${PROCESSORS.join(', ')}: run both sides as on a processor with AVX2 only
                         (default: native)
  --threads <n>          on both sides (default: all of the machine)
  --rounds <n>           (default: 5)
  --prompt-tokens <list> to prefill (default: 512,2048)
  --sequences <n>        to decode at once, besides one alone (default: 16)
  --mamba-ssm-cache-dtype <name>
                         ${STATE_DTYPES.join(', ')}: SSM states of mamba2 (default: float32)
  --quick                one round of little work, to see that everything runs
  --json                 the figures as one JSON object
  --clean                remove the models' files and end`;

const { values } = parseArgs({
  options: {
    peer: { type: 'string', default: 'llama.cpp' },
    shape: { type: 'string', default: 'mamba2-130m' },
    dtypes: { type: 'string' },
    cpu: { type: 'string', default: 'native' },
    threads: { type: 'string', default: `${availableParallelism()}` },
    rounds: { type: 'string' },
    'prompt-tokens': { type: 'string' },
    sequences: { type: 'string' },
    'mamba-ssm-cache-dtype': { type: 'string', default: 'float32' },
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
  const rounds = whole(values.rounds ?? (quick ? '1' : '5'), '--rounds');
  const workload: Workload = {
    shape: known(values.shape, MODEL_SHAPES, '--shape'),
    threads: whole(values.threads, '--threads'),
    promptTokens: (values['prompt-tokens'] ?? (quick ? '64' : '512,2048'))
      .split(',')
      .map((length) => whole(length, '--prompt-tokens')),
    generateTokens: quick ? 8 : 32,
    sequences: whole(values.sequences ?? (quick ? '4' : '16'), '--sequences'),
    states: oneOf(STATE_DTYPES, values['mamba-ssm-cache-dtype'], '--mamba-ssm-cache-dtype'),
  };
  const kind = oneOf(PROCESSORS, values.cpu, '--cpu');
  requireProcessor(kind);
  const engine = await requireOurs();
  const peer = await PEERS[known(values.peer, PEERS, '--peer')](kind);
  const { name, version, formats } = peer;
  const dtypes =
    values.dtypes?.split(',').map((dtype) => known(dtype, formats, '--dtypes')) ??
    DTYPES.filter((dtype) => Object.hasOwn(formats, dtype));
  const results = await runRounds(peer, workload, dtypes, rounds, kind);
  const works = compare(results);
  const processor = thisProcessor(kind);
  const kernels = chosenKernels(results);
  if (json) {
    return print(JSON.stringify({ ...workload, rounds, processor, engine, kernels, peer: name, version, works }));
  }
  const { shape, threads, states } = workload;
  print(`${shape}, threads: ${threads}, states: ${states}, rounds: ${rounds}, ${engine}, ${name} ${version}`);
  print(`${describeProcessor(processor)}; products of mamba2: ${kernels}\n`);
  print(describeComparison(works, peer));
}

/** Measures both sides in turns, so that other work of the machine meets both alike; each begins every other round. */
async function runRounds(
  peer: Peer,
  workload: Workload,
  dtypes: readonly DType[],
  rounds: number,
  processor: ProcessorKind,
): Promise<Round[]> {
  const results: Round[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const dtype of dtypes) {
      const file = await peer.prepare(workload.shape, dtype);
      say(`round ${round + 1} of ${rounds}: ${dtype}`);
      const runOne = () => runOurs(dtype, workload, file, processor);
      const first = round % 2 === 0 ? await runOne() : undefined;
      const theirs = await peer.run(dtype, workload);
      results.push({ dtype, theirs, ours: first ?? (await runOne()) });
    }
  }
  return results;
}

function known<T extends object>(name: string, table: T, option: string): Extract<keyof T, string> {
  if (Object.hasOwn(table, name)) return name as Extract<keyof T, string>;
  throw new Error(`${option} holds '${name}'; expected one of: ${Object.keys(table).join(', ')}.`);
}

function oneOf<T extends string>(known: readonly T[], name: string, option: string): T {
  const found = known.find((each) => each === name);
  if (found !== undefined) return found;
  throw new Error(`${option} is '${name}'; expected one of: ${known.join(', ')}.`);
}

function whole(text: string, option: string): number {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
  throw new Error(`${option} is '${text}'; expected an integer at least 1.`);
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
