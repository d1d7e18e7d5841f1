import { moduleFile } from '../distributed/module-file.ts';
import { singleProcess } from '../distributed/process-group.ts';
import type { MpiProcess } from '../engine/load/mpi-job.ts';
import type { StageToLoad } from '../engine/pipeline/load-pipeline.ts';
import type { Job } from '../engine/ranks/job.ts';
import type { LoadWatch, RankOptions } from '../engine/ranks/load-rank.ts';
import type { Executor } from '../engine/run/executor.ts';
import { planStages } from '../engine/weights/plan-stages.ts';
import { weightStorage } from '../engine/weights/weight-storage.ts';
import { defineModel } from '../models/registry.ts';
import { loadSyntheticRank, type SyntheticSource } from './synthetic-model.ts';

/** Where the model is, besides its ranks. */
interface SyntheticPlace extends LoadWatch {
  readonly job?: Job | undefined;
  /** Default: 1. */
  readonly pipelineParallelSize?: number | undefined;
}

/**
 * Makes a model of random weights on `size` ranks, or on so many in each of its stages. Any number of either makes the same
 * model.
 */
export async function loadSynthetic(
  source: SyntheticSource,
  size: number,
  options: RankOptions,
  { job, pipelineParallelSize = 1, onProgress, signal }: SyntheticPlace = {},
): Promise<Executor> {
  const watch = { onProgress, signal };
  if (size === 1 && pipelineParallelSize === 1) return loadSyntheticRank(source, singleProcess, options, watch);
  const { RankExecutor } = await import('../engine/ranks/rank-executor.ts');
  const workers = { rank: rankScript() };
  if (pipelineParallelSize === 1) return RankExecutor.start({ source }, size, options, { ...watch, workers, job });
  const { loadPipeline } = await import('../engine/pipeline/load-pipeline.ts');
  const storage = weightStorage(options.dtype, 'float32');
  const plan = planStages(defineModel(source.config), storage, pipelineParallelSize);
  const load = ({ stage, hosted }: StageToLoad) =>
    RankExecutor.start({ source }, hosted ? 1 : size, { ...options, stage }, { signal, workers, hosted });
  return loadPipeline(plan, load, job && { job, numRanks: size });
}

/** Serves process 0 of a job, which makes models of random weights, with this process's threads. */
export function followSynthetic(job: MpiProcess): Promise<void> {
  return job.followWith({ script: rankScript(), prepare: async (start) => start });
}

function rankScript(): URL {
  return moduleFile('./synthetic-rank-worker', import.meta.url);
}
