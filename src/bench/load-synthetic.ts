import { moduleFile } from '../distributed/module-file.ts';
import { singleProcess } from '../distributed/process-group.ts';
import type { LoadWatch, RankOptions } from '../engine/ranks/load-rank.ts';
import type { Executor } from '../engine/run/executor.ts';
import { loadSyntheticRank, type SyntheticSource } from './synthetic-model.ts';

/** Makes a model of random weights on `size` ranks. Any number of ranks makes the same model. */
export async function loadSynthetic(
  source: SyntheticSource,
  size: number,
  options: RankOptions,
  watch: LoadWatch = {},
): Promise<Executor> {
  if (size === 1) return loadSyntheticRank(source, singleProcess, options, watch);
  const { RankExecutor } = await import('../engine/ranks/rank-executor.ts');
  const script = moduleFile('./synthetic-rank-worker', import.meta.url);
  return RankExecutor.start({ source }, size, options, { ...watch, workers: { rank: script } });
}
