import { physicalCores } from '../../distributed/physical-cores.ts';
import { ShardingError } from '../../errors.ts';
import { type BlockFormat, isBlockFormat, type MatrixDType } from '../../tensor/block-formats.ts';
import type { StorageSetting } from '../../tensor/dtype.ts';
import type { KvCacheDType } from '../../tensor/kv-cache-dtype.ts';
import { isStochastic, type StateStorage } from '../../tensor/state-dtype.ts';
import { type ChosenDevice, isGpu, keptFormats } from '../ranks/devices.ts';
import { keptTokensFor } from '../ranks/load-rank.ts';
import { canShareMemory } from '../ranks/rank-thread.ts';
import type { KvCacheLimits } from '../run/kv-cache-limits.ts';
import { type PipelinePlan, planStages } from '../weights/plan-stages.ts';
import { storedFormats } from '../weights/stored-formats.ts';
import { storageInBlocks, type WeightStorage } from '../weights/weight-storage.ts';
import type { DeviceChoice } from './choose-device.ts';
import { chooseDType, dtypeFacts } from './choose-dtype.ts';
import { checkGpus, fewestGpus, rankBytes } from './choose-gpus.ts';
import { chooseKvCacheDType } from './choose-kv-cache-dtype.ts';
import { stateStorage } from './choose-state-dtype.ts';
import type { DescribedModel } from './describe-model.ts';
import type { LoadSettings } from './load-options.ts';

/** A described model, and where and how it is to run. */
export interface PlacedModel extends DescribedModel {
  readonly device: DeviceChoice;
  /** Ranks that share the model. */
  readonly tensorParallelSize: number;
  /** Absent where one stage has all layers. */
  readonly pipeline: PipelinePlan | undefined;
  /** Storage of the weight matrices. */
  readonly dtype: MatrixDType;
  /** What ranks are told about it, and why, in a sentence. */
  readonly storage: StorageSetting;
  readonly dtypeReason: string;
  /** Storage of SSM states. */
  readonly states: StateStorage;
  /** Dtype of keys and values; undefined where no layer has attention. */
  readonly kvCacheDtype: KvCacheDType | undefined;
  /** Formats of matrices that are kept in blocks. */
  readonly blockFormats: ReadonlySet<BlockFormat>;
}

/** Storage of a model's weights on a device, where settings leave that open. */
export function chooseStorage(
  { checkpoint, definition }: Pick<DescribedModel, 'checkpoint' | 'definition'>,
  asked: LoadSettings['dtype'],
  device: ChosenDevice,
  ranks: number,
) {
  const formats = storedFormats(checkpoint, definition, keptFormats(device));
  const facts = dtypeFacts(checkpoint, definition, device, ranks);
  const { dtype: storage, reason: dtypeReason } = chooseDType(asked, facts);
  return { formats, storage, dtypeReason, inMemory: storageInBlocks(storage, facts.stored, formats) };
}

/**
 * Decides on the number of ranks and the storage of weights on a device, where settings leave that open.
 * @param besides bytes that else is to have on a GPU of the model. Default: 0.
 */
export async function chooseRanks(
  described: DescribedModel,
  settings: LoadSettings,
  device: DeviceChoice,
  besides = 0,
): Promise<PlacedModel> {
  const { name, config, checkpoint, definition } = described;
  settings.onProgress?.({ status: 'device', name, ...device });
  const { pipelineParallelSize, job } = settings;
  const others = job?.followers.length ?? 0;
  // Processes of a job have a stage each, or share the only one.
  const here = job ? 1 + job.followers.filter(({ host }) => host === job.host).length : pipelineParallelSize;
  const sharing = pipelineParallelSize > 1 ? { stages: here } : { processes: 1 + others };
  const most = isGpu(device.device) ? 1 : mostRanks(config.numHeads, sharing);
  const threads = settings.tensorParallelSize === 'auto' ? most : settings.tensorParallelSize;
  const allRanks = threads * pipelineParallelSize;
  const chosen = chooseStorage(described, settings.dtype, device.device, allRanks);
  const { formats, storage, dtypeReason, inMemory } = chosen;
  const { matrixDType: dtype } = inMemory;
  settings.onProgress?.({ status: 'dtype', name, dtype, reason: dtypeReason });
  const kvCacheDtype = chooseKvCacheDType(described, settings);
  const gpus = { ...settings, kvCacheDtype };
  const tensorParallelSize = device.device === 'cuda' ? await gpusFor(described, inMemory, gpus, besides) : threads;
  const pipeline = pipelineParallelSize > 1 ? planStages(definition, inMemory, pipelineParallelSize) : undefined;
  // Other matrices are in blocks only if most are.
  const blockFormats = new Set(isBlockFormat(dtype) ? [...formats.values()].filter(isBlockFormat) : []);
  const states = stateStorage(checkpoint.config, settings);
  if (states.rounding === 'stochastic' && !isStochastic(states)) {
    settings.onWarning('Stochastic rounding (stateRounding) changes nothing, because states are float32.');
  }
  const placed = { device, tensorParallelSize, pipeline, dtype, storage, dtypeReason };
  return { ...described, ...placed, states, kvCacheDtype, blockFormats };
}

/** The number of GPUs that share a model, of which every rank has one. @throws ShardingError where there are too few. */
async function gpusFor(
  { checkpoint, config, definition }: DescribedModel,
  storage: WeightStorage,
  settings: Omit<LoadSettings, 'kvCacheDtype'> & Pick<KvCacheLimits, 'kvCacheDtype'>,
  besides: number,
): Promise<number> {
  const {
    tensorParallelSize,
    pipelineParallelSize,
    job,
    maxNumSeqs: slots,
    maxModelLen,
    kvCacheMemoryBytes,
    kvCacheDtype,
  } = settings;
  if (tensorParallelSize === 1) return 1;
  // A stage has all GPUs of its process.
  const processes = pipelineParallelSize > 1 ? 1 : 1 + (job?.followers.length ?? 0);
  if (tensorParallelSize === 'auto' && pipelineParallelSize > 1) return 1;
  const { describeAllCuda } = await import('../../backends/cuda/device/cuda-info.ts');
  const gpus = await describeAllCuda();
  // Processes of one machine divide its GPUs, unless each was given its own.
  const here = processes === 1 ? 1 : 1 + (job?.followers ?? []).filter(({ host }) => host === job?.host).length;
  const memories = gpus.slice(0, Math.max(1, Math.floor(gpus.length / here))).map(({ memory }) => memory);
  if (tensorParallelSize !== 'auto') {
    checkGpus(tensorParallelSize, processes, memories.length);
    return tensorParallelSize;
  }
  const keptTokens = keptTokensFor(settings.speculativeConfig?.numSpeculativeTokens);
  const limits = { slots, maxModelLen, kvCacheMemoryBytes, kvCacheDtype, keptTokens };
  const own = await rankBytes(definition, storage, limits, stateStorage(checkpoint.config, settings));
  return fewestGpus({ numHeads: config.numHeads, processes, memories, need: (ranks) => own(ranks) + besides });
}

/**
 * The largest number of ranks that have a core each, that can share memory, and that divides the heads: what `auto` is.
 * @param sharing stages that share the cores; processes that have the same number of ranks each, on machines like this one.
 * @throws ShardingError where no number of ranks for so many processes divides the heads.
 */
export function mostRanks(
  numHeads = 0,
  { stages = 1, processes = 1 }: { readonly stages?: number; readonly processes?: number } = {},
): number {
  const cores = canShareMemory() ? Math.max(1, Math.floor(physicalCores() / stages)) : 1;
  for (let ranks = processes * cores; ranks > 0; ranks -= processes) if (numHeads % ranks === 0) return ranks;
  throw new ShardingError(
    `${processes} processes can't share a model of ${numHeads} heads.`,
    'Start as many processes as divide the heads.',
  );
}
