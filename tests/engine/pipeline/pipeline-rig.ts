import { fileURLToPath } from 'node:url';
import { Checkpoint } from '../../../src/checkpoint/checkpoint.ts';
import { singleProcess } from '../../../src/distributed/process-group.ts';
import { loadPipeline } from '../../../src/engine/pipeline/load-pipeline.ts';
import type { PipelineExecutor } from '../../../src/engine/pipeline/pipeline-executor.ts';
import type { ChosenDevice } from '../../../src/engine/ranks/devices.ts';
import { loadRank } from '../../../src/engine/ranks/load-rank.ts';
import type { Executor } from '../../../src/engine/run/executor.ts';
import { planStages } from '../../../src/engine/weights/plan-stages.ts';
import { defineModel } from '../../../src/models/registry.ts';

/** Golden models of all architectures, and one with two shared blocks, each of which several stages use. */
export const MODELS = [
  'mamba2',
  'bamba',
  'granitemoehybrid',
  'falcon_h1',
  'nemotron_h',
  'zamba2',
  'variants/zamba2-two-blocks',
] as const;

export function goldenFolder(model: string): string {
  return fileURLToPath(new URL(`../../goldens/${model}`, import.meta.url));
}

const SETTINGS = { dtype: 'stored', slots: 4, maxModelLen: 256, checkFinite: true } as const;
const STORAGE = { weightDType: 'float32', quantConfig: undefined } as const;

/** The model on one rank, and in stages that all live in this thread. */
export async function loadBoth(
  model: string,
  stages: number,
  device: ChosenDevice = 'cpu',
): Promise<{ readonly alone: Executor; readonly pipeline: PipelineExecutor }> {
  const checkpoint = await Checkpoint.open(goldenFolder(model));
  try {
    const options = { ...SETTINGS, name: model, device };
    const plan = planStages(defineModel(checkpoint.config, checkpoint.names()), STORAGE, stages);
    const load = ({ stage }: { stage?: { begin: number; end: number } } = {}) =>
      loadRank(checkpoint, singleProcess, { ...options, stage });
    return { alone: await load(), pipeline: await loadPipeline(plan, load) };
  } finally {
    await checkpoint.close();
  }
}
