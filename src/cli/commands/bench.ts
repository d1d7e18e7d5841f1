import { cpus } from 'node:os';
import type { CpuKernels } from '../../backends/cpu/kernels/product-forms.ts';
import { fastestKernels } from '../../backends/cpu/load-kernels.ts';
import { measureArithmeticPeak } from '../../bench/arithmetic-peak.ts';
import { type BenchMachine, type BenchReport, type BenchRun, withShares } from '../../bench/bench-report.ts';
import { measureDType } from '../../bench/bench-run.ts';
import type { BenchSource } from '../../bench/bench-target.ts';
import { followSynthetic } from '../../bench/load-synthetic.ts';
import { longestSequence } from '../../bench/measure.ts';
import { MODEL_SHAPES, type ModelShape } from '../../bench/model-shapes.ts';
import { measureReadBandwidth } from '../../bench/read-bandwidth.ts';
import { Checkpoint } from '../../checkpoint/checkpoint.ts';
import { resolveModel } from '../../checkpoint/model-source.ts';
import { mostRanks } from '../../engine/load/choose-ranks.ts';
import { defaultStepTokens } from '../../engine/load/load-options.ts';
import { defineModel } from '../../models/registry.ts';
import { defineCommand } from '../options/command.ts';
import { inJob } from '../options/in-job.ts';
import { count, counts } from '../options/list-options.ts';
import {
  askedStates,
  dtypesOption,
  type ModelValues,
  modelName,
  modelOptions,
  threads,
  withModel,
} from '../options/model-options.ts';
import { choice, flag, text, type Values } from '../options/option.ts';
import { UsageError } from '../options/usage-error.ts';
import { describeReport } from '../reports/bench-tables.ts';
import { Interrupt } from '../terminal/interrupt.ts';
import { ProgressDisplay } from '../terminal/progress-display.ts';
import { quietDevice } from '../terminal/quiet-device.ts';
import { print } from '../terminal/standard-output.ts';

const SHAPES = Object.keys(MODEL_SHAPES) as ModelShape[];

const options = {
  shape: choice(SHAPES, 'Random weights of a published size instead of a model'),
  ...modelOptions,
  // Figures of one thread are what others compare with.
  tensorParallelSize: threads(
    'Threads, or GPUs, that share the model; auto: one per core, or one GPU (default: 1 on each machine)',
  ),
  pipelineParallelSize: count(1, 1, 'Stages that hold a run of the layers each, with such threads each'),
  dtype: dtypesOption(),
  promptTokens: counts([512, 2048], 'Prompt lengths to prefill'),
  batchSizes: counts([1, 16], 'Sequences to decode at the same time'),
  requests: counts([1], 'Requests to generate at the same time'),
  generateTokens: count(32, 1, 'Tokens to decode per sequence'),
  repetitions: count(5, 1, 'Times to measure each'),
  json: flag('Print one JSON object'),
  output: text('file', 'With --device webgpu and no model: keep the report so far here, as JSON'),
};

type BenchValues = Values<typeof options> & Pick<ModelValues, 'job'>;

/** `mamba2 bench` */
export const bench = defineCommand({
  details: [
    'Prefill is one prompt, in steps of at most 512 tokens, or 2048 on large NVIDIA GPUs. Decode is steps of one token for',
    'each of some sequences; its figure counts the tokens of all of them. GPUs choose the tokens themselves; other devices',
    'give logits. Generate is whole requests as programs make them, with greedy sampling.',
    'Each figure is the median of the repetitions, with the least and the greatest; a run for warming up comes first.',
    'With --shape, the model has a published size and random weights.',
    "Shares are relative to the machine's limits, measured with the same number of threads. Bandwidth is that of reading",
    'large buffers, and on several machines that of this one times their number. Peak is that of multiplying and',
    'adding in a loop with all operands in the first-level cache: in float32, or in bytes for int8 and int4. A product and its addition count as two operations. The scan of a token takes',
    '5 P N operations per head and layer, always in float32.',
    'With --device webgpu and no model, mixer layers of three published shapes are timed by the clock of the GPU and by',
    'the wall clock, and two whole models with embedding, head and sampling. Figures go to standard error as they come.',
    'Memory is the resident size of the process. Its peak counts from the start of the process, so it belongs to one',
    'dtype only if one is given.',
  ].join(' '),
  options,
  examples: [
    'bench tiny-dts --prompt-tokens 64 --batch-sizes 1',
    'bench --shape mamba2-130m --dtype float32,int8 --tensor-parallel-size 2 --json',
  ],
  run: (given, [positional]) => {
    const values = withModel(given, positional);
    const { shape } = values;
    return inJob(values, { lead: run, follow: shape === undefined ? undefined : followSynthetic });
  },
});

async function run(values: BenchValues): Promise<number> {
  const {
    shape,
    model,
    dtype: dtypes,
    cpuKernels,
    matmulPrecision,
    json,
    quiet,
    revision,
    job,
    pipelineParallelSize,
  } = values;
  // Processes that share a stage.
  const processes = pipelineParallelSize > 1 ? 1 : 1 + (job?.followers.length ?? 0);
  const { tensorParallelSize = processes } = values;
  if (shape !== undefined && model !== undefined) throw new UsageError('--model and --shape exclude each other.');
  if (values.device === 'webgpu' && shape === undefined && model === undefined) {
    await quietDevice('webgpu', '');
    const { benchGpu } = await import('./bench-gpu-run.ts');
    return await benchGpu(values);
  }
  if (values.output !== undefined) {
    throw new UsageError(
      '--output has no effect without --device webgpu, or with a model.',
      'Use --json, and > for a file.',
    );
  }
  const interrupt = new Interrupt();
  const progress = new ProgressDisplay(quiet);
  const { signal } = interrupt;
  const { onProgress } = progress;
  try {
    const name = shape ?? modelName(values);
    const source: BenchSource = shape
      ? { name, config: MODEL_SHAPES[shape] }
      : { name, folder: await resolveModel(name, { revision, signal, onProgress }) };
    const device = await quietDevice(values.device, 'folder' in source ? source.folder : '');
    const most = () => (device === 'cuda' ? processes : autoRanks(source, processes));
    const ranks = tensorParallelSize === 'auto' ? await most() : tensorParallelSize;
    const slots = Math.max(...values.batchSizes, ...values.requests);
    const maxModelLen = longestSequence(values);
    const limits = { slots, stepTokens: await defaultStepTokens(device), maxModelLen };
    const load = {
      device,
      // `auto` is the processor for weights that are made up.
      ...askedStates(values, shape !== undefined && device === 'auto' ? 'cpu' : device),
      kvCacheDtype: values.kvCacheDtype,
      cpuKernels,
      matmulPrecision,
      tensorParallelSize: ranks,
      pipelineParallelSize,
      ...limits,
      signal,
      onProgress,
      job,
    };
    const runs: BenchRun[] = [];
    for (const dtype of dtypes) runs.push(await measureDType(source, { ...load, dtype }, values, progress));
    // Last: its buffers would count as the model's memory.
    const machine = await describeMachine(ranks, processes, cpuKernels);
    const results = runs.map((run) => withShares(run, machine));
    const report: BenchReport = { model: name, device, ranks, stages: pipelineParallelSize, machine, results };
    await print(json ? `${JSON.stringify(report)}\n` : `${describeReport(report)}\n`);
    return 0;
  } finally {
    progress.stop();
    interrupt.close();
  }
}

async function autoRanks(source: BenchSource, processes: number): Promise<number> {
  if ('config' in source) return mostRanks(defineModel(source.config).config.numHeads, { processes });
  const checkpoint = await Checkpoint.open(source.folder);
  await checkpoint.close();
  return mostRanks(defineModel(checkpoint.config, checkpoint.names()).config.numHeads, { processes });
}

/** @param processes on machines like this one, which have the threads. */
async function describeMachine(
  threads: number,
  processes: number,
  cpuKernels: CpuKernels | undefined,
): Promise<BenchMachine> {
  const readBytesPerSecond = processes * (await measureReadBandwidth(threads / processes));
  const { float32, int8 } = await measureArithmeticPeak(threads / processes);
  const operationsPerSecond = { float32: processes * float32, int8: processes * int8 };
  const cpu = cpus()[0]?.model ?? 'unknown processor';
  // The forms that the runs chose, which are kept.
  const kernels = fastestKernels([], cpuKernels).forms;
  return { cpu, node: process.versions.node, kernels, readBytesPerSecond, operationsPerSecond };
}
