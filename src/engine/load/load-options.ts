import { MOST_REPLAYED } from '../../backends/contract/state-space.ts';
import { type CpuKernels, parseCpuKernels } from '../../backends/cpu/kernels/product-forms.ts';
import type { HubOptions } from '../../checkpoint/hub/hub-options.ts';
import type { WorkerScripts } from '../../distributed/worker-scripts.ts';
import { ArgumentError, ShardingError } from '../../errors.ts';
import { type DTypeChoice, type DTypeSetting, parseDTypeChoice } from '../../tensor/dtype.ts';
import { type KvCacheDTypeSetting, parseKvCacheDType } from '../../tensor/kv-cache-dtype.ts';
import { type MatmulPrecision, parseMatmulPrecision } from '../../tensor/matmul-precision.ts';
import {
  parseStateDType,
  parseStateRounding,
  type StateDTypeSetting,
  type StateRounding,
} from '../../tensor/state-dtype.ts';
import { shown } from '../../util/shown.ts';
import { type Device, parseDevice } from '../ranks/devices.ts';
import { type Job, ranksPerProcess } from '../ranks/job.ts';
import { canShareMemory } from '../ranks/rank-thread.ts';
import { checkOptionNames, type OptionNames } from '../sample/option-names.ts';
import { checkSpeculativeConfig } from '../speculate/speculative-config.ts';
import type { StateStore } from '../store/homes/state-store.ts';
import { parseStateFetch, type StateFetch } from '../store/transfer-rates.ts';
import { statesOn } from './choose-state-dtype.ts';
import type { EngineLimits } from './engine-options.ts';

/** Options of `LLM.load`. Those of the hub apply if the source is a hub id; `token` also applies to a URL. */
export interface LoadOptions extends Omit<HubOptions, 'fetch'>, EngineLimits {
  /** Default: auto. */
  readonly device?: Device | undefined;
  /**
   * Dtype of the weights in memory: float32, bfloat16, float16, int8, int4, stored (as in the files), or auto. auto keeps
   * small models, quantised ones and those on a GPU as they are stored, and makes others int8 on the processor, or int4
   * where int8 takes too much memory. Default: auto.
   */
  readonly dtype?: DTypeChoice | undefined;
  /**
   * Dtype in which SSM states are kept between two tokens: float32, or float16 or bfloat16, which take half the memory.
   * Convolutions' inputs stay float32, and so do all sums. auto: what the model's config says (`mamba_ssm_cache_dtype`),
   * or float32. vLLM: `mamba_ssm_cache_dtype`. Default: auto.
   */
  readonly stateDtype?: StateDTypeSetting | undefined;
  /**
   * How states of 16 bits are rounded: nearest, or stochastic, which keeps sums of many small changes unbiased. Both give
   * a sequence the same states however it is split or batched. Stochastic rounding does not go with `speculativeConfig`.
   * Default: nearest.
   */
  readonly stateRounding?: StateRounding | undefined;
  /**
   * Steps of decoding after which a sequence's SSM states are written, 1 to 32: on the device `cuda`, steps between keep the inputs of
   * their tokens, and compute those again. It changes no bit. 1: states are written in each step, as always on other
   * devices, where more is an error, or a warning if `auto` has taken the device. vLLM: `use_replayssm`,
   * `replayssm_buffer_len`. Default: the fastest for the device and `stateDtype`.
   */
  readonly replayssmBufferLen?: number | undefined;
  /**
   * Threads that share the model; divides its heads. auto: as many as the machine has cores and the heads allow.
   * Default: 1. In a browser more than one needs a page that is cross-origin isolated. On the device `cuda` it is the
   * number of GPUs, each in a process of its own, and auto takes the fewest whose memory holds the model.
   */
  readonly tensorParallelSize?: number | 'auto' | undefined;
  /**
   * Stages that hold a run of the model's layers each, so that each needs only its part of the memory. Every stage has
   * `tensorParallelSize` threads. Default: 1.
   */
  readonly pipelineParallelSize?: number | undefined;
  /**
   * Compute on a thread of its own where one rank has the model on the processor, so that a step, which may take a second,
   * does not hold the program's own thread: for servers. Several ranks always have threads of their own, and so has one in
   * a browser. Default: false.
   */
  readonly ownThread?: boolean | undefined;
  /** Number of answers that run at the same time; further ones wait. Default: 16. */
  readonly maxNumSeqs?: number | undefined;
  /** Tokens processed in one step. Default: 512, and 2048 on `cuda` where GPUs have 40 GB or more. */
  readonly maxNumBatchedTokens?: number | undefined;
  /**
   * Memory for keys and values of attention layers, as one rank alone would hold them. Default: for `maxNumSeqs` sequences
   * of 4096 tokens, or one of 32768 (of `maxModelLen`, where that is given), but at most 1 GiB unless `maxModelLen` takes
   * more.
   */
  readonly kvCacheMemoryBytes?: number | undefined;
  /**
   * Dtype in which attention layers keep keys and values: float32; float16 or bfloat16, so that twice as many tokens fit;
   * fp8 (which is fp8_e4m3) or fp8_e5m2, so that four times as many do. Attention computes in float32. auto: FP8 where the
   * checkpoint was quantised for it, with its scales (compressed-tensors' `kv_cache_scheme`, ModelOpt's
   * `kv_cache_quant_algo`), or float32. A model without attention layers has no use for it. vLLM: `kv_cache_dtype`. Default:
   * auto.
   */
  readonly kvCacheDtype?: KvCacheDTypeSetting | undefined;
  /**
   * Store of states that several machines share, so that each continues what another has begun: see `openStateStore`. The
   * caller closes it, after `llm.dispose()`. Default: none.
   */
  readonly stateStore?: StateStore | undefined;
  /**
   * When states are fetched from it: `measured`, where that takes less time than computing them, by the rates of both
   * so far; `always`, which spares the processor. Default: measured.
   */
  readonly stateFetch?: StateFetch | undefined;
  /**
   * How products are made on the device `cpu`: auto, which a trial of a few milliseconds decides, once a process; or one
   * of `CPU_KERNELS`. All relaxed forms (dot, pairs) give the same bits. Default: auto.
   */
  readonly cpuKernels?: CpuKernels | undefined;
  /**
   * How exactly products take their activations on the device `cuda`: high, as the sum of two numbers of 16 bits, or medium,
   * as one, as most servers do: prompts then take about half the time, and answers may differ. Other devices are as exact
   * as with high. PyTorch: `set_float32_matmul_precision`. Default: high.
   */
  readonly matmulPrecision?: MatmulPrecision | undefined;
  /** Refuse weights that are NaN or infinite. Default: false. */
  readonly checkFinite?: boolean | undefined;
  /**
   * Keeps the model's files in the browser's private file system, if it has one: then the next load fetches only files
   * that have changed, and continues an interrupted one. Elsewhere without effect. Default: true.
   */
  readonly useBrowserStorage?: boolean | undefined;
  /** Jinja source in place of the model's own chat template; null: none. Default: the model's own. */
  readonly chatTemplate?: string | null | undefined;
  /** Called with problems of a model that loads nevertheless. Default: `console.warn`. */
  readonly onWarning?: ((message: string) => void) | undefined;
  /** Places of the workers' scripts, for programs whose bundler does not find them. Default: next to the package's own. */
  readonly workers?: WorkerScripts | undefined;
  /**
   * Processes that share the model. With several stages each process has one of them; otherwise each has the same number of
   * threads, and `tensorParallelSize` counts the threads of all. See `openMpiJob` of 'mamba2/mpi'. Default: this process
   * alone.
   */
  readonly job?: Job | undefined;
  /** Load the model again when a rank fails: running requests end with the error, others continue. Default: false. */
  readonly recover?: boolean | undefined;
}

/** Names of the options of `LLM.load`. */
const LOAD_OPTIONS: OptionNames<LoadOptions> = {
  revision: true,
  token: true,
  localFilesOnly: true,
  cacheDir: true,
  endpoint: true,
  retryDelay: true,
  signal: true,
  onProgress: true,
  device: true,
  dtype: true,
  stateDtype: true,
  stateRounding: true,
  replayssmBufferLen: true,
  kvCacheDtype: true,
  kvCacheMemoryBytes: true,
  tensorParallelSize: true,
  pipelineParallelSize: true,
  ownThread: true,
  maxNumSeqs: true,
  maxNumBatchedTokens: true,
  maxModelLen: true,
  maxQueueSize: true,
  maxUnreadTokens: true,
  enablePrefixCaching: true,
  prefixCacheBytes: true,
  snapshotInterval: true,
  speculativeConfig: true,
  stateStore: true,
  stateFetch: true,
  cpuKernels: true,
  matmulPrecision: true,
  checkFinite: true,
  useBrowserStorage: true,
  chatTemplate: true,
  onWarning: true,
  workers: true,
  job: true,
  recover: true,
};

const DEFAULTS = {
  device: 'auto',
  dtype: 'auto',
  stateDtype: 'auto',
  stateRounding: 'nearest',
  kvCacheDtype: 'auto',
  tensorParallelSize: 1,
  pipelineParallelSize: 1,
  ownThread: false,
  maxNumSeqs: 16,
  checkFinite: false,
  cpuKernels: 'auto',
  matmulPrecision: 'high',
  useBrowserStorage: true,
  recover: false,
  onWarning: printWarning,
} as const satisfies LoadOptions;

/** Tokens that keep most devices busy. */
const TOKENS = 512;
/** A large GPU runs prompts a quarter faster in steps of so many, which take some gigabytes: as an estimate 20 for 2.7 B. */
const LARGE_GPU_TOKENS = 2048;
const LARGE_GPU_BYTES = 40e9;

/**
 * Tokens processed in one step where nothing else was asked for. More would make the answers under way wait longer for their
 * next tokens while a prompt is processed.
 */
export async function defaultStepTokens(device: string): Promise<number> {
  if (device !== 'cuda') return TOKENS;
  const { describeAllCuda } = await import('../../backends/cuda/device/cuda-info.ts');
  const gpus = await describeAllCuda();
  return gpus.every(({ memory }) => memory >= LARGE_GPU_BYTES) ? LARGE_GPU_TOKENS : TOKENS;
}

type Defaulted = keyof typeof DEFAULTS;
type WithDefaults = Omit<LoadOptions, Defaulted> & { readonly [Name in Defaulted]: NonNullable<LoadOptions[Name]> };

/** Load options with their defaults, all checked. */
export type LoadSettings = WithDefaults & { readonly dtype: DTypeSetting };

/** Options that are whole numbers: the least, and the largest where there is one. */
const COUNTS: readonly (readonly [name: keyof LoadOptions, least: number, most?: number])[] = [
  ['tensorParallelSize', 1],
  ['pipelineParallelSize', 1],
  ['maxNumSeqs', 1],
  ['maxNumBatchedTokens', 1],
  ['maxModelLen', 1],
  ['replayssmBufferLen', 1, MOST_REPLAYED + 1],
  ['snapshotInterval', 1],
  ['maxUnreadTokens', 1],
  ['maxQueueSize', 0],
];

/** Options that are amounts of memory. */
const AMOUNTS = ['prefixCacheBytes', 'kvCacheMemoryBytes'] as const satisfies (keyof LoadOptions)[];

/**
 * Fills in defaults, and refuses what no model could be loaded with, before anything is fetched.
 * @throws ArgumentError, UnsupportedDeviceError, UnsupportedDTypeError, ShardingError
 */
export function checkLoadOptions(options: LoadOptions): LoadSettings {
  checkOptionNames(options, LOAD_OPTIONS);
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const settings: WithDefaults = Object.assign({}, DEFAULTS, Object.fromEntries(given));
  checkNumbers(settings);
  parseStateDType(settings.stateDtype);
  parseStateRounding(settings.stateRounding);
  parseKvCacheDType(settings.kvCacheDtype);
  checkRanksCanRun(settings.tensorParallelSize);
  if (settings.speculativeConfig) {
    checkSpeculativeConfig(settings.speculativeConfig);
    checkRounding(settings);
  }
  checkStore(settings.stateStore);
  parseStateFetch(settings.stateFetch);
  const device = deviceOf(settings);
  const dtype = parseDTypeChoice(settings.dtype);
  parseCpuKernels(settings.cpuKernels);
  parseMatmulPrecision(settings.matmulPrecision);
  if (device === 'webgpu') checkAlone(device, settings.tensorParallelSize);
  checkDivides(settings);
  const checked = { ...settings, device, dtype };
  return settings.device === 'auto' && device !== 'auto' ? statesOn(device, checked, settings.onWarning) : checked;
}

/** @throws ArgumentError */
function checkNumbers(settings: WithDefaults): void {
  for (const [name, least, most] of COUNTS) {
    const value = settings[name];
    const isCount =
      Number.isInteger(value) && Number(value) >= least && Number(value) <= (most ?? Number.POSITIVE_INFINITY);
    const isUnset = value === undefined || (name === 'tensorParallelSize' && value === 'auto');
    if (isCount || isUnset || (name === 'maxQueueSize' && value === Number.POSITIVE_INFINITY)) continue;
    const range = most === undefined ? `from ${least} on` : `from ${least} to ${most}`;
    throw new ArgumentError(`${name} is ${shown(value)}.`, `Use a whole number ${range}.`);
  }
  for (const name of AMOUNTS) {
    const value = settings[name];
    if (value === undefined || (typeof value === 'number' && value >= 0)) continue;
    throw new ArgumentError(`${name} is ${shown(value)}.`, 'Use a number of bytes from 0 on.');
  }
}

function checkAlone(device: Device, tensorParallelSize: number | 'auto'): void {
  if (tensorParallelSize === 'auto' || tensorParallelSize === 1) return;
  throw new ShardingError(
    `The device '${device}' runs one rank; tensorParallelSize is ${tensorParallelSize}.`,
    'Use 1.',
  );
}

/** @throws UnsupportedDeviceError, ShardingError */
function deviceOf({ device: name, job, pipelineParallelSize }: WithDefaults): Device {
  const device = parseDevice(name);
  if (!job) return device;
  // Other processes may have no GPU, so none is taken unasked.
  if (device === 'auto') return 'cpu';
  if (device !== 'webgpu' || pipelineParallelSize > 1) return device;
  throw new ShardingError(
    `The device '${device}' runs one rank, and this is a job of several processes.`,
    "Use 'cpu' or 'cuda', or a stage for each process (pipelineParallelSize).",
  );
}

/** Each process of a job has a stage, or the same number of ranks of the only one. */
function checkDivides({ tensorParallelSize, pipelineParallelSize, job }: WithDefaults): void {
  if (!job) return;
  const processes = 1 + job.followers.length;
  if (pipelineParallelSize > 1) {
    if (pipelineParallelSize === processes) return;
    throw new ShardingError(
      `pipelineParallelSize is ${pipelineParallelSize}, and this is a job of ${processes} processes.`,
      'Start as many processes as stages.',
    );
  }
  if (tensorParallelSize !== 'auto') ranksPerProcess(tensorParallelSize, job);
}

function checkRanksCanRun(tensorParallelSize: number | 'auto'): void {
  if (tensorParallelSize === 'auto' || tensorParallelSize === 1 || canShareMemory()) return;
  throw new ShardingError(
    `tensorParallelSize is ${tensorParallelSize}, but this page is not cross-origin isolated, so workers can't share memory.`,
    "Serve it with the headers 'Cross-Origin-Opener-Policy: same-origin' and 'Cross-Origin-Embedder-Policy: require-corp', or use 1.",
  );
}

/** Callers without types may give a store's URL, as the command line takes it. */
function checkStore(store: StateStore | null | undefined): void {
  if (!store || STORE_METHODS.every((name) => typeof store[name] === 'function')) return;
  throw new ArgumentError(
    `stateStore is ${shown(store)}; expected a store with ${STORE_METHODS.join(', ')}.`,
    "Give what `await openStateStore('redis://localhost:6379')` returns.",
  );
}

const STORE_METHODS = ['list', 'get', 'put', 'touch', 'close'] as const satisfies (keyof StateStore)[];

/** Tokens that were guessed are taken into a state without their positions. */
function checkRounding({ stateDtype, stateRounding }: WithDefaults): void {
  if (stateRounding === 'nearest' || stateDtype === 'float32') return;
  throw new ArgumentError(
    'Stochastic rounding (stateRounding) goes by the positions of tokens, which speculativeConfig leaves out.',
    'Use one of them alone, or states of float32.',
  );
}

function printWarning(message: string): void {
  // biome-ignore lint/suspicious/noConsole: what makes other answers than expected must not pass in silence.
  console.warn(`mamba2: ${message}`);
}
