import { say } from './child-process.ts';
import { type CompareOptions, HELP, type PeerName, readCompareOptions } from './compare-options.ts';
import { chosenKernels, compare, describeComparison, type Round } from './comparison.ts';
import { llamaCpp, removeModels } from './llama-cpp.ts';
import { describeMachine, type Machine, machineWith } from './machine.ts';
import { onnxruntime } from './onnxruntime.ts';
import { requireOurs, runOurs } from './ours.ts';
import type { Peer } from './peer.ts';
import { thisProcessor } from './processor.ts';

const START: Readonly<Record<PeerName, (machine: Machine) => Promise<Peer>>> = { 'llama.cpp': llamaCpp, onnxruntime };

try {
  await main(readCompareOptions(process.argv.slice(2)));
} catch (error) {
  say(`error: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}

async function main(options: CompareOptions): Promise<void> {
  if (options.action === 'help') return print(HELP);
  if (options.action === 'clean') return removeModels();
  const { workload, shapes, rounds, device, kind } = options;
  const machine = await machineWith(device, kind);
  const engine = await requireOurs();
  const peer = await START[options.peer](machine);
  const { name, version, formats } = peer;
  const missing = options.dtypes?.find((dtype) => formats[dtype] === undefined);
  if (missing !== undefined) {
    throw new Error(`--dtypes holds '${missing}'; ${name} has: ${Object.keys(formats).join(', ')}.`);
  }
  const results = await runRounds(peer, options, machine);
  const works = compare(results);
  const kernels = chosenKernels(results);
  if (options.json) {
    const processor = thisProcessor(kind);
    const gpu = machine.device === 'cuda' ? machine.gpu : undefined;
    const about = { device, ...workload, shapes, rounds, processor, gpu, engine, kernels };
    return print(JSON.stringify({ ...about, peer: name, version, works }));
  }
  const { threads, states, matmulPrecision } = workload;
  print(
    `${shapes.join(', ')}, threads: ${threads}, states: ${states}, rounds: ${rounds}, ${engine}, ${name} ${version}`,
  );
  print(`${describeMachine(machine)}; products of mamba2: ${device === 'cpu' ? kernels : matmulPrecision}\n`);
  print(describeComparison(works, peer));
}

/** Measures both sides in turns, so that other work of the machine meets both alike; each begins every other round. */
async function runRounds(
  peer: Peer,
  { shapes, dtypes, rounds, workload }: CompareOptions,
  machine: Machine,
): Promise<Round[]> {
  const results: Round[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const shape of shapes) {
      for (const dtype of dtypes ?? peer.defaultDTypes(shape)) {
        const work = { ...workload, shape };
        const file = await peer.prepare(shape, dtype);
        say(`round ${round + 1} of ${rounds}: ${shape}, ${dtype}`);
        const runOne = () => runOurs(dtype, work, machine, file);
        const first = round % 2 === 0 ? await runOne() : undefined;
        const theirs = await peer.run(dtype, work);
        results.push({ shape, dtype, theirs, ours: first ?? (await runOne()) });
      }
    }
  }
  return results;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
