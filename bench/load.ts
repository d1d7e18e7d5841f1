import { existsSync } from 'node:fs';
import { mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { MODEL_SHAPES, type ModelShape } from '../src/bench/model-shapes.ts';
import { spreadOf } from '../src/bench/spread.ts';
import { formatTable } from '../src/cli/terminal/table.ts';
import { run, say } from './child-process.ts';
import { type LoadRun, PHASES } from './load-run.ts';
import { SyntheticParameters, writeModelFolder } from './model-folder.ts';
import { describeProcessor, thisProcessor } from './processor.ts';
import { writeRandomGguf } from './synthetic-gguf.ts';

const QUANTIZATIONS = ['Q4_K_M', 'Q8_0'] as const;
/** Dtypes that a folder with weights in bfloat16 is loaded as. */
const DTYPES = ['int8', 'int4', 'stored'] as const;
const SHAPES = ['mamba2-130m', 'granite-4.0-h-350m'];
const FOLDER = join(import.meta.dirname, '.build', 'load');

const HELP = `Compares the load of GGUF files, and of folders in bfloat16 as ${DTYPES.join(', ')}, on \`cpu\` with a plain read
of their bytes into memory.

  --shapes <names>  of ${Object.keys(MODEL_SHAPES).join(', ')}
                    (default: ${SHAPES.join(',')})
  --model <path>    this file or folder instead
  --dtype <name>    to load it as (default: auto)
  --threads <n>     that share the model (default: 1)
  --rounds <n>      each in a process of its own (default: 5)
  --json            the figures as one JSON object

Exits with 1 if a load takes more memory than 1.3 times what the loaded model does, or if a GGUF file as a model takes
more than 1.1 times its bytes and 100 MB.`;

const { values } = parseArgs({
  options: {
    shapes: { type: 'string', default: SHAPES.join(',') },
    model: { type: 'string' },
    dtype: { type: 'string', default: 'auto' },
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
  for (const source of await sources()) results.push(summary(source, await measure(source)));
  if (results.some(({ isWithinMemory }) => !isWithinMemory)) process.exitCode = 1;
  if (values.json) {
    process.stdout.write(
      `${JSON.stringify({ processor: thisProcessor(), node: process.versions.node, threads: values.threads, results })}\n`,
    );
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
    `${describeProcessor(thisProcessor())}, Node ${process.versions.node}, threads: ${values.threads}\n\n` +
      `${formatTable([heading, ...rows])}\nTimes in ms, medians; memory in MB, of a process that had not read the file.\n`,
  );
}

/** A GGUF file or a folder, and the dtype to load it as. */
interface Source {
  readonly name: string;
  readonly path: string;
  readonly dtype: string;
}

async function sources(): Promise<Source[]> {
  if (values.model !== undefined) return [{ name: values.model, path: values.model, dtype: values.dtype }];
  await mkdir(FOLDER, { recursive: true });
  const all: Source[] = [];
  for (const shape of values.shapes.split(',').map(knownShape)) {
    for (const quantization of QUANTIZATIONS) {
      const name = `${shape}-${quantization}`;
      const path = join(FOLDER, `${name}.gguf`);
      if (!existsSync(path)) {
        say(`writing ${path}`);
        await writeRandomGguf(`${path}.partial`, shape, quantization);
        await rename(`${path}.partial`, path);
      }
      all.push({ name, path, dtype: 'auto' });
    }
    const folder = join(FOLDER, `${shape}-BF16`);
    const parameters = new SyntheticParameters(shape);
    const pieces = parameters.names().map((parameter) => parameters.floats(parameter, 'BF16'));
    await writeModelFolder(folder, MODEL_SHAPES[shape], pieces);
    for (const dtype of DTYPES) all.push({ name: `${shape}-BF16 as ${dtype}`, path: folder, dtype });
  }
  return all;
}

/** Each round in a new process; every other one loads before it reads. */
async function measure({ name, path, dtype }: Source): Promise<LoadRun[]> {
  const runs: LoadRun[] = [];
  for (let round = 0; round < Number(values.rounds); round++) {
    say(`${name}: round ${round + 1} of ${values.rounds}`);
    const order = round % 2 === 0 ? 'load' : 'read';
    const script = join(import.meta.dirname, 'load-run.ts');
    runs.push(JSON.parse(await run(process.execPath, [script, path, values.threads, order, dtype])));
  }
  return runs;
}

function summary({ name, path }: Source, runs: readonly LoadRun[]) {
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
    isWithinMemory: peakMemory <= 1.3 * memory && (!path.endsWith('.gguf') || memory <= 1.1 * bytes + 1e8),
  };
}

function knownShape(name: string): ModelShape {
  if (Object.hasOwn(MODEL_SHAPES, name)) return name as ModelShape;
  throw new Error(`There is no shape '${name}'; expected one of: ${Object.keys(MODEL_SHAPES).join(', ')}.`);
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}
