import { moduleFile } from '../distributed/module-file.ts';
import { singleProcess } from '../distributed/process-group.ts';
import type { MpiProcess } from '../engine/load/mpi-job.ts';
import type { Job } from '../engine/ranks/job.ts';
import type { LoadWatch, RankOptions } from '../engine/ranks/load-rank.ts';
import type { Executor } from '../engine/run/executor.ts';
import { loadSyntheticRank, type SyntheticSource } from './synthetic-model.ts';

/** Makes a model of random weights on `size` ranks. Any number of ranks makes the same model. */
export async function loadSynthetic(
  source: SyntheticSource,
  size: number,
  options: RankOptions,
  watch: LoadWatch & { readonly job?: Job | undefined } = {},
): Promise<Executor> {
  if (size === 1) return loadSyntheticRank(source, singleProcess, options, watch);
  const { RankExecutor } = await import('../engine/ranks/rank-executor.ts');
  return RankExecutor.start({ source }, size, options, { ...watch, workers: { rank: rankScript() } });
}

/** Serves process 0 of a job, which makes models of random weights, with this process's threads. */
export function followSynthetic(job: MpiProcess): Promise<void> {
  return job.followWith({ script: rankScript(), prepare: async (start) => start });
}

function rankScript(): URL {
  return moduleFile('./synthetic-rank-worker', import.meta.url);
}
