import { existsSync } from 'node:fs';
import { mkdir, rename } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { MODEL_SHAPES, type ModelShape } from '../src/bench/model-shapes.ts';
import { spreadOf } from '../src/bench/spread.ts';
import { formatTable } from '../src/cli/terminal/table.ts';
import { run, say } from './child-process.ts';
import { type LoadRun, PHASES } from './load-run.ts';
import { writeRandomGguf } from './synthetic-gguf.ts';

const QUANTIZATIONS = ['Q4_K_M', 'Q8_0'] as const;
const SHAPES = ['mamba2-130m', 'granite-4.0-h-350m'];
const FOLDER = join(import.meta.dirname, '.build', 'load');

const HELP = `Compares the load of a GGUF file on \`cpu\` with a plain read of its bytes into memory.

  --shapes <names>  of ${Object.keys(MODEL_SHAPES).join(', ')}
                    (default: ${SHAPES.join(',')})
  --model <path>    this file instead
  --threads <n>     that share the model (default: 1)
  --rounds <n>      each in a process of its own (default: 5)
  --json            the figures as one JSON object

Exits with 1 if a loaded model takes more than 1.1 times the file's bytes and 100 MB.`;

const { values } = parseArgs({
  options: {
    shapes: { type: 'string', default: SHAPES.join(',') },
    model: { type: 'string' },
    threads: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '5' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false, short: 'h' },
  },
});

if (values.help) process.stdout.write(`${HELP}\n`);
else await main();

async function main(): Promise<void> {
  const results = [];
  for (const { name, path } of await files()) results.push(summary(name, await measure(name, path)));
  if (results.some(({ isWithinMemory }) => !isWithinMemory)) process.exitCode = 1;
  if (values.json) {
    process.stdout.write(`${JSON.stringify({ cpu: cpus()[0]?.model, threads: values.threads, results })}\n`);
    return;
  }
  const heading = [
    '',
    'MB',
    'read',
    'load',
    ...PHASES,
    'ratio',
    'per round',
    'of processors',
    'first token',
    'memory',
    'peak',
  ];
  const rows = results.map((result) => [
    result.name,
    megabytes(result.bytes),
    ...[result.read, result.load, ...PHASES.map((phase) => result.phases[phase])].map((time) => time.toFixed(0)),
    result.ratio.median.toFixed(2),
    `${result.ratio.min.toFixed(2)} - ${result.ratio.max.toFixed(2)}`,
    result.processorRatio.toFixed(2),
    result.firstToken.toFixed(0),
    megabytes(result.memory),
    megabytes(result.peakMemory),
  ]);
  process.stdout.write(
    `${formatTable([heading, ...rows])}\nTimes in ms, medians; memory in MB, of a process that had not read the file.\n`,
  );
}

async function files(): Promise<{ readonly name: string; readonly path: string }[]> {
  if (values.model !== undefined) return [{ name: values.model, path: values.model }];
  await mkdir(FOLDER, { recursive: true });
  const all = [];
  for (const shape of values.shapes.split(',')) {
    for (const quantization of QUANTIZATIONS) {
      const name = `${shape}-${quantization}`;
      const path = join(FOLDER, `${name}.gguf`);
      if (!existsSync(path)) {
        say(`writing ${path}`);
        await writeRandomGguf(`${path}.partial`, knownShape(shape), quantization);
        await rename(`${path}.partial`, path);
      }
      all.push({ name, path });
    }
  }
  return all;
}

/** Each round in a new process; every other one loads before it reads. */
async function measure(name: string, path: string): Promise<LoadRun[]> {
  const runs: LoadRun[] = [];
  for (let round = 0; round < Number(values.rounds); round++) {
    say(`${name}: round ${round + 1} of ${values.rounds}`);
    const order = round % 2 === 0 ? 'load' : 'read';
    const script = join(import.meta.dirname, 'load-run.ts');
    runs.push(JSON.parse(await run(process.execPath, [script, path, values.threads, order])));
  }
  return runs;
}

function summary(name: string, runs: readonly LoadRun[]) {
  const median = (of: (run: LoadRun) => number) => spreadOf(runs.map(of)).median;
  const [{ bytes, memory, peakMemory }] = runs;
  return {
    name,
    bytes,
    read: median((run) => run.read.clock),
    load: median((run) => run.load.clock),
    phases: Object.fromEntries(PHASES.map((phase) => [phase, median((run) => run.phases[phase])])),
    ratio: spreadOf(runs.map((run) => run.load.clock / run.read.clock)),
    processorRatio: median((run) => run.load.processors / run.read.processors),
    firstToken: median((run) => run.firstToken),
    memory,
    peakMemory,
    isWithinMemory: memory <= 1.1 * bytes + 1e8,
  };
}

function knownShape(name: string): ModelShape {
  if (Object.hasOwn(MODEL_SHAPES, name)) return name as ModelShape;
  throw new Error(`There is no shape '${name}'; expected one of: ${Object.keys(MODEL_SHAPES).join(', ')}.`);
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}
