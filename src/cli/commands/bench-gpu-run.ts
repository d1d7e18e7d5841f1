import { writeFileSync } from 'node:fs';
import { measureDType } from '../../bench/bench-run.ts';
import {
  type GpuLayersSettings,
  type GpuReport,
  measureGpuBandwidth,
  measureGpuLayers,
} from '../../bench/gpu-bench.ts';
import { longestSequence } from '../../bench/measure.ts';
import { MODEL_SHAPES } from '../../bench/model-shapes.ts';
import { defaultStepTokens } from '../../engine/load/load-options.ts';
import { weightStorage } from '../../engine/weights/weight-storage.ts';
import type { DTypeSetting } from '../../tensor/dtype.ts';
import type { StateDTypeSetting } from '../../tensor/state-dtype.ts';
import { describeGpuReport } from '../reports/bench-gpu-tables.ts';
import { Interrupt } from '../terminal/interrupt.ts';
import { ProgressDisplay } from '../terminal/progress-display.ts';
import { print } from '../terminal/standard-output.ts';

const LAYERS = {
  shapes: ['mamba2-130m', 'mamba2-2.7b', 'codestral-7b'],
  batchSizes: [1, 8, 64, 256],
  promptTokens: [2048, 8192],
  steps: 100,
} as const satisfies Partial<GpuLayersSettings>;

const MODELS = ['mamba2-130m', 'mamba2-2.7b'] as const;
/** Numbers of requests to whole models. */
const REQUESTS = [1, 64];
const PROMPT_TOKENS = [512];
/** Tokens of each request at least: a step takes a millisecond or less, and the card needs some to get up to speed. */
const LEAST_TOKENS = 256;

interface GpuValues {
  readonly dtype: readonly DTypeSetting[];
  readonly json: boolean;
  readonly quiet: boolean;
  readonly output: string | undefined;
  readonly repetitions: number;
  readonly generateTokens: number;
  readonly mambaSsmCacheDtype: StateDTypeSetting | undefined;
}

/** Mixer layers of published shapes, and whole models, on the machine's GPU. */
export async function benchGpu(values: GpuValues): Promise<number> {
  const {
    dtype: [asked],
    json,
    quiet,
    output,
    repetitions,
    generateTokens,
    mambaSsmCacheDtype = 'auto',
  } = values;
  const stateDType = mambaSsmCacheDtype === 'auto' ? 'float32' : mambaSsmCacheDtype;
  const interrupt = new Interrupt();
  const progress = new ProgressDisplay(quiet);
  const { signal } = interrupt;
  const began = performance.now();
  const say = (what: string, soFar: Partial<GpuReport>) => {
    const seconds = ((performance.now() - began) / 1000).toFixed(0);
    if (!quiet) process.stderr.write(`${seconds} s  ${what}\n`);
    if (output !== undefined) writeFileSync(output, `${JSON.stringify(soFar)}\n`);
  };
  try {
    const { weightDType: dtype } = weightStorage(asked === 'auto' ? 'stored' : asked, 'float16');
    const copyBytesPerSecond = await measureGpuBandwidth();
    say(`copying a buffer: ${(copyBytesPerSecond / 1e12).toFixed(2)} TB/s`, { copyBytesPerSecond });
    const layers = await measureGpuLayers({ ...LAYERS, dtype, stateDType }, signal, (what, soFar) =>
      say(what, { copyBytesPerSecond, layers: soFar }),
    );
    const models: GpuReport['models'][number][] = [];
    for (const shape of MODELS) {
      const source = { name: shape, config: MODEL_SHAPES[shape] };
      const tokens = { promptTokens: PROMPT_TOKENS, generateTokens: Math.max(LEAST_TOKENS, generateTokens) };
      const settings = { ...tokens, batchSizes: [], requests: REQUESTS, repetitions };
      const limits = {
        slots: Math.max(...REQUESTS),
        stepTokens: await defaultStepTokens('webgpu'),
        maxModelLen: longestSequence(settings),
      };
      const { onProgress } = progress;
      const how = { device: 'webgpu' as const, dtype, stateDtype: stateDType, tensorParallelSize: 1 };
      const load = { ...how, ...limits, signal, onProgress };
      const run = await measureDType(source, load, settings, progress);
      models.push({ shape, run });
      for (const { work, batchSize, tokens, tokensPerSecond } of run.measurements) {
        const what = `${shape} ${work} ${work === 'prefill' ? tokens : batchSize}`;
        say(`${what}: ${tokensPerSecond.median.toFixed(0)} tokens/s`, { copyBytesPerSecond, layers, models });
      }
    }
    const report = { layers, models, copyBytesPerSecond };
    await print(json ? `${JSON.stringify(report)}\n` : `${describeGpuReport(report)}\n`);
    return 0;
  } finally {
    progress.stop();
    interrupt.close();
  }
}
