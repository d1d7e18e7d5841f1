import type { CompiledKernels } from '../../backends/cpu/kernels/kernels.ts';
import type { CpuKernels } from '../../backends/cpu/kernels/product-forms.ts';
import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import type { ProgressCallback } from '../../checkpoint/net/progress.ts';
import type { ProcessGroup } from '../../distributed/process-group.ts';
import type { CacheScales } from '../../layers/attention/kv-cache-shape.ts';
import { LayerContext, type Stage, type WeightCheck } from '../../layers/parameters/layer-context.ts';
import { ParameterTable } from '../../layers/parameters/parameter.ts';
import type { CausalLM, ModelDefinition } from '../../models/causal-lm.ts';
import { defineModel } from '../../models/registry.ts';
import type { BlockFormat, MatrixDType } from '../../tensor/block-formats.ts';
import type { StorageSetting, WeightDType } from '../../tensor/dtype.ts';
import type { MatmulPrecision } from '../../tensor/matmul-precision.ts';
import { FLOAT32_STATES, type StateStorage } from '../../tensor/state-dtype.ts';
import { elementCount } from '../../tensor/tensor.ts';
import { type KvCacheLimits, numKvBlocks } from '../run/kv-cache-limits.ts';
import { ModelRunner } from '../run/model-runner.ts';
import { replayedTokens } from '../run/replayed-slots.ts';
import { readCacheScales } from '../weights/cache-scales.ts';
import { headerCheck } from '../weights/header-check.ts';
import { loadWeights, matchNames } from '../weights/load-weights.ts';
import { memoryNeed } from '../weights/memory-need.ts';
import { storedFormats } from '../weights/stored-formats.ts';
import { storageInBlocks } from '../weights/weight-storage.ts';
import { type ChosenDevice, compileForDevice, createBackend } from './devices.ts';

/** Settings that all ranks of a model share. They can be posted to a worker. */
export interface RankOptions extends KvCacheLimits {
  readonly name: string;
  readonly device: ChosenDevice;
  readonly dtype: StorageSetting;
  readonly checkFinite: boolean;
  /** Whether the output head is a separate tensor, although the config ties it. Default: false. */
  readonly untieHead?: boolean | undefined;
  /** Whether the model's own layers for multi-token prediction are loaded. Default: false. */
  readonly mtp?: boolean | undefined;
  /** Formats of matrices that are kept in blocks. */
  readonly blockFormats?: ReadonlySet<BlockFormat> | undefined;
  /** Tokens that a speculating sequence may guess in a step. Default: 0. */
  readonly numSpeculativeTokens?: number | undefined;
  /** The layers to load, of a model that several stages hold. Default: all. */
  readonly stage?: Stage | undefined;
  /** Storage of SSM states. Default: float32. */
  readonly states?: StateStorage | undefined;
  /** Form of products on the processor. Default: auto. */
  readonly cpuKernels?: CpuKernels | undefined;
  /** How exactly products take their activations on `cuda`. Default: high. */
  readonly matmulPrecision?: MatmulPrecision | undefined;
  /** Compiled once by the caller and shared by all ranks. */
  readonly kernels?: CompiledKernels | undefined;
}

/** Callback and signal for the loading of a rank. */
export interface LoadWatch {
  readonly onProgress?: ProgressCallback | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Makes one rank of a checkpoint's model and loads its shard. */
export async function loadRank(
  checkpoint: Checkpoint,
  group: ProcessGroup,
  options: RankOptions,
  watch: LoadWatch = {},
): Promise<ModelRunner> {
  const definition = defineModel(checkpoint.config, checkpoint.names(), options);
  const weights: RankWeights = {
    storedDType: checkpointDType(checkpoint),
    check: headerCheck(definition, checkpoint),
    formats: (kept) => storedFormats(checkpoint, definition, kept),
    cacheScales: (model) => readCacheScales(model.kvCacheSizes, definition, checkpoint),
    match: (model, whole) => {
      const pairs = matchNames(new ParameterTable(model), definition, checkpoint, new ParameterTable(whole));
      return () => loadWeights(model, pairs, checkpoint, { ...options, ...watch });
    },
  };
  return makeRank(definition, group, options, weights, watch);
}

/** Source of a rank's weights. */
export interface RankWeights {
  /** Dtype of weights where `dtype` is stored, and of weights that blockwise dtypes leave alone. */
  readonly storedDType: WeightDType;
  readonly check?: WeightCheck;
  /** Formats of matrices whose blocks may be kept, of those that the backend keeps, by the model's own names. */
  formats?(kept: ReadonlySet<BlockFormat> | undefined): ReadonlyMap<string, MatrixDType>;
  /** Scales of the keys and values of a model's attention layers. */
  cacheScales?(model: CausalLM): Promise<readonly CacheScales[]>;
  /**
   * Checks that every weight of the whole model is there, before memory is reserved. Returns a function that loads this
   * rank's shards of `model`, which may be a stage of it.
   */
  match(model: CausalLM, whole: CausalLM): () => Promise<void>;
}

/**
 * Makes one rank of a model, wherever its weights come from.
 * @param watch is told about the steps after the weights; the function that loads weights reports its own progress.
 */
export async function makeRank(
  definition: ModelDefinition,
  group: ProcessGroup,
  options: RankOptions,
  weights: RankWeights,
  { onProgress, signal }: LoadWatch,
): Promise<ModelRunner> {
  const { device, kernels = compileForDevice(device, [], options.cpuKernels) } = options;
  const backend = await createBackend(device, kernels, group, options.matmulPrecision);
  try {
    const formats = weights.formats?.(backend.blockFormats) ?? new Map();
    const { weightDType, quantConfig } = storageInBlocks(options.dtype, weights.storedDType, formats);
    const { check } = weights;
    const { slots, stage, states = FLOAT32_STATES, kvCacheDtype } = options;
    const make = (layers?: Stage) =>
      definition.create(new LayerContext(backend, group, weightDType, { check, stage: layers }), quantConfig);
    const whole = make();
    const model = stage ? make(stage) : whole;
    const fill = weights.match(model, whole);
    const numBlocks = numKvBlocks(whole.kvCacheSizes, options);
    const keptTokens = keptTokensFor(options.numSpeculativeTokens);
    const replayed = replayedTokens(backend.replay, model, states);
    const held = { slots, numBlocks, keptTokens, stateDType: states.dtype, kvCacheDtype, replayed };
    await backend.reserve?.(memoryNeed(model, held));
    await fill();
    const cacheScales = kvCacheDtype === 'fp8_e4m3' ? await weights.cacheScales?.(model) : undefined;
    const runner = new ModelRunner(backend, model, {
      slots,
      numBlocks,
      keptTokens,
      states,
      kvCacheDtype,
      cacheScales,
      chunkSize: definition.config.chunkSize,
      group,
    });
    const onCompiled = (loaded: number, total: number) => {
      onProgress?.({ status: 'compile', name: options.name, loaded, total, progress: (100 * loaded) / total });
    };
    await runner.prepare({ onProgress: onCompiled, signal });
    signal?.throwIfAborted();
    return runner;
  } catch (error) {
    backend.dispose?.();
    throw error;
  }
}

/** Tokens of a step that tries so many: the last one that is known comes before them. */
export function keptTokensFor(numSpeculativeTokens = 0): number {
  return numSpeculativeTokens === 0 ? 0 : numSpeculativeTokens + 1;
}

/**
 * The dtype that most of the checkpoint's values are stored in; float32 if any of them are quantised, so that all values are
 * those of the files.
 */
export function checkpointDType(checkpoint: Checkpoint): WeightDType {
  const byDType = { F32: 0, BF16: 0, F16: 0 };
  for (const name of checkpoint.names()) {
    const { dtype, shape } = checkpoint.info(name);
    const values = elementCount(shape);
    if (dtype === 'BF16' || dtype === 'F16') byDType[dtype] += values;
    else if (dtype === 'F32' || dtype === 'F64') byDType.F32 += values;
    else return 'float32';
  }
  if (byDType.BF16 > byDType.F32 && byDType.BF16 >= byDType.F16) return 'bfloat16';
  return byDType.F16 > byDType.F32 ? 'float16' : 'float32';
}
