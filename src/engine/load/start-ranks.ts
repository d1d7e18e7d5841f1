import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import { singleProcess } from '../../distributed/process-group.ts';
import { ShardingError } from '../../errors.ts';
import type { Stage } from '../../layers/parameters/layer-context.ts';
import { isGpu } from '../ranks/devices.ts';
import type { HostedPlace, Job } from '../ranks/job.ts';
import { type LoadWatch, loadRank } from '../ranks/load-rank.ts';
import { isPage } from '../ranks/rank-thread.ts';
import type { Executor } from '../run/executor.ts';
import type { PlacedModel } from './choose-ranks.ts';
import type { LoadSettings } from './load-options.ts';
import { identifyLoaded } from './loaded-identity.ts';
import { formOf, identifyModel, type ModelIdentity } from './model-identity.ts';

/** A placed model whose ranks have their weights and can run steps. */
export interface StartedModel extends PlacedModel {
  readonly executor: Executor;
  /** Loads the same files again, once the executor has failed. Rejects with ModelChangedError where they were replaced. */
  readonly reloadExecutor: (signal: AbortSignal) => Promise<Executor>;
  /** The model's identity. Rejects with ModelChangedError if it was not read before the files were replaced. */
  readonly identify: () => Promise<ModelIdentity>;
}

/** Loads a model's weights onto its ranks. */
export async function startRanks(placed: PlacedModel, settings: LoadSettings): Promise<StartedModel> {
  const { checkpoint, reopen } = placed;
  const executor = await start(placed, settings, checkpoint, settings);
  try {
    const { identify, assertSame } = await identifyLoaded(checkpoint, placed, reopen);
    const reloadExecutor = (signal: AbortSignal) =>
      reopen(async (again) => {
        // Sequences would continue in another model.
        await assertSame(again);
        return start(placed, settings, again, { signal });
      });
    return { ...placed, executor, reloadExecutor, identify };
  } catch (error) {
    await executor.dispose();
    throw error;
  }
}

/** Where ranks are, and their layers. Default: this process has all. */
interface RanksPlace {
  readonly stage?: Stage | undefined;
  readonly job?: Job | undefined;
  readonly hosted?: HostedPlace | undefined;
}

async function start(
  placed: PlacedModel,
  settings: LoadSettings,
  checkpoint: Checkpoint,
  watch: LoadWatch,
): Promise<Executor> {
  const {
    name,
    config,
    untieHead,
    mtp,
    tensorParallelSize: size,
    pipeline,
    storage: dtype,
    states,
    kvCacheDtype,
    blockFormats,
  } = placed;
  const { device } = placed.device;
  const { maxNumSeqs: slots, ownThread, workers, job } = settings;
  const { maxModelLen, kvCacheMemoryBytes, checkFinite, cpuKernels, matmulPrecision } = settings;
  const limits = { slots, maxModelLen, kvCacheMemoryBytes, kvCacheDtype };
  const { numSpeculativeTokens } = settings.speculativeConfig ?? {};
  const form = { untieHead, mtp, states, blockFormats, numSpeculativeTokens };
  const options = { name, device, dtype, ...limits, checkFinite, cpuKernels, matmulPrecision, ...form };
  const { onProgress, signal } = watch;
  if (config.numHeads !== undefined && config.numHeads % size !== 0) {
    throw new ShardingError(
      `tensorParallelSize is ${size}, which does not divide the model's ${config.numHeads} heads.`,
      'Use a divisor of the heads.',
    );
  }
  const load = async (threads: boolean, { stage, ...where }: RanksPlace): Promise<Executor> => {
    if (size === 1 && !threads && !where.hosted) {
      return loadRank(checkpoint, singleProcess, { ...options, stage }, { onProgress, signal });
    }
    // Loaded on need: one rank works where there are no threads.
    const { RankExecutor } = await import('../ranks/rank-executor.ts');
    const model = job && (await identifyModel(checkpoint, config, formOf(placed)));
    const isHosted = where.hosted !== undefined;
    const watch = { onProgress: isHosted ? undefined : onProgress, signal, workers, model, ...where };
    return RankExecutor.load(checkpoint.files, isHosted ? 1 : size, { ...options, stage }, watch);
  };
  if (!pipeline) return load(isPage() || (ownThread && !isGpu(device)), { job });
  const { loadPipeline } = await import('../pipeline/load-pipeline.ts');
  // Stages on one thread would wait for each other.
  const loadStage = (place: RanksPlace) => load(!isGpu(device), place);
  return loadPipeline(pipeline, loadStage, job && { job, numRanks: size });
}
