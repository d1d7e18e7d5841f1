import { singleProcess } from '../distributed/process-group.ts';
import type { Executor } from './executor.ts';
import type { LoadWatch, RankOptions } from './load-rank.ts';
import { loadSyntheticRank, type SyntheticSource } from './synthetic-model.ts';

/** Makes a model of random weights on `size` ranks. Any number of ranks makes the same model. */
export async function loadSynthetic(
  source: SyntheticSource,
  size: number,
  options: RankOptions,
  watch: LoadWatch = {},
): Promise<Executor> {
  if (size === 1) return loadSyntheticRank(source, singleProcess, options, watch);
  const { RankExecutor } = await import('./rank-executor.ts');
  return RankExecutor.load(source, size, options, watch);
}
