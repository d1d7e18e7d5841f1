import { MOST_REPLAYED } from '../../backends/contract/state-space.ts';
import { CPU_KERNELS } from '../../backends/cpu/kernels/product-forms.ts';
import { resolveModel } from '../../checkpoint/model-source.ts';
import { isUrl } from '../../checkpoint/net/urls.ts';
import { LLM } from '../../engine/llm.ts';
import { type AskedStates, statesOn } from '../../engine/load/choose-state-dtype.ts';
import type { LoadOptions } from '../../engine/load/load-options.ts';
import { DEVICES, type Device } from '../../engine/ranks/devices.ts';
import type { Job } from '../../engine/ranks/job.ts';
import { DTYPE_SETTINGS, type DTypeSetting, parseDTypeChoice } from '../../tensor/dtype.ts';
import { KV_CACHE_DTYPE_SETTINGS } from '../../tensor/kv-cache-dtype.ts';
import { MATMUL_PRECISIONS } from '../../tensor/matmul-precision.ts';
import { STATE_DTYPE_SETTINGS } from '../../tensor/state-dtype.ts';
import { shown } from '../../util/shown.ts';
import { adviseNode } from '../terminal/node-advice.ts';
import { note, warn } from '../terminal/notes.ts';
import { ProgressDisplay } from '../terminal/progress-display.ts';
import { quietDevice } from '../terminal/quiet-device.ts';
import { inFlags } from './flag-names.ts';
import { words } from './list-options.ts';
import { choice, flag, flagName, number, type Option, text, type Values } from './option.ts';
import { speculativeOption } from './speculative-option.ts';
import { UsageError } from './usage-error.ts';

const DEFAULT_MODEL = 'tiny-dts';
const MIB = 2 ** 20;

/** Options of the commands that run a model. */
export const modelOptions = {
  model: text('model', `Folder, GGUF file, bundled name or hub id (default: ${DEFAULT_MODEL})`, 'm'),
  revision: text('revision', 'Branch, tag or commit of a hub model (default: main)'),
  device: choice(DEVICES, 'Where to run (default: auto)'),
  dtype: dtypeOption(),
  mambaSsmCacheDtype: choice(STATE_DTYPE_SETTINGS, "Dtype of SSM states (default: auto: the config's own, or float32)"),
  enableMambaCacheStochasticRounding: flag('Round SSM states of 16 bits stochastically instead of to the nearest'),
  replayssmBufferLen: number(
    'Steps of decoding after which SSM states are written on cuda; 1: each (default: the fastest for their dtype)',
  ),
  kvCacheDtype: choice(
    KV_CACHE_DTYPE_SETTINGS,
    "Dtype of attention layers' keys and values; fp8 is fp8_e4m3 (default: auto: the checkpoint's own, or float32)",
  ),
  cpuKernels: choice(CPU_KERNELS, 'How the processor makes products (default: auto, which a trial decides)'),
  matmulPrecision: choice(
    MATMUL_PRECISIONS,
    'How exactly products take activations on cuda: as two numbers of 16 bits, or as one (default: high)',
  ),
  tensorParallelSize: threads(
    'Threads or GPUs that share the model, on all machines; auto: one per core, or the GPUs it needs (default: auto)',
  ),
  pipelineParallelSize: number('Stages that hold a run of the layers each, with such threads each (default: 1)'),
  quiet: flag('No progress and no notes', 'q'),
};

/** Options of the commands that generate texts of unknown length. */
export const contextOptions = {
  maxModelLen: number('Tokens of a prompt and its answer together (default: what memory allows)'),
  kvCacheSize: number(
    'Memory for keys and values of attention layers, in MiB (default: as much as fits, at most 1024)',
  ),
  speculativeConfig: speculativeOption(),
};

/** Values of {@link modelOptions}. */
export type ModelValues = Values<typeof modelOptions> &
  Partial<Values<typeof contextOptions>> & {
    /** Processes that share the model: see `inJob`. */
    readonly job?: Job | undefined;
  };

/** The model that was asked for. @throws UsageError */
export function modelName({ model = DEFAULT_MODEL }: Pick<ModelValues, 'model'>): string {
  if (model === '')
    throw new UsageError('--model is empty.', 'Give a folder, a GGUF file, a bundled name or a hub id.');
  return model;
}

/** The values with a model that may have been given by position instead. @throws UsageError where it was given twice */
export function withModel<V extends { readonly model: string | undefined }>(
  values: V,
  positional: string | undefined,
): V {
  if (positional === undefined) return values;
  if (values.model === undefined) return { ...values, model: positional };
  throw new UsageError(`There are two models: '${positional}' and --model '${values.model}'.`, 'Give one.');
}

/** Fetches the model if needed. → its folder or URL */
export async function findModel(values: ModelValues, signal: AbortSignal | undefined): Promise<string> {
  const progress = new ProgressDisplay(values.quiet);
  const { onProgress } = progress;
  return resolveModel(modelName(values), { revision: values.revision, signal, onProgress }).finally(() =>
    progress.stop(),
  );
}

/**
 * Loads the model under a progress bar.
 * @param source where it is, when that was found out already.
 */
export async function loadWithProgress(
  values: ModelValues,
  signal?: AbortSignal,
  source = modelName(values),
  engineOptions: LoadOptions = {},
): Promise<LLM> {
  const {
    revision,
    dtype,
    kvCacheDtype,
    cpuKernels,
    matmulPrecision,
    tensorParallelSize = 'auto',
    pipelineParallelSize,
    job,
    quiet,
  } = values;
  assertCount('pipelineParallelSize', pipelineParallelSize, 1);
  const folder = isUrl(source) ? source : await findModel({ ...values, model: source }, signal);
  const device = await quietDevice(values.device, folder);
  const progress = new ProgressDisplay(quiet);
  const { onProgress } = progress;
  const load = {
    revision,
    device,
    dtype,
    ...askedStates(values, device),
    kvCacheDtype,
    cpuKernels,
    matmulPrecision,
    tensorParallelSize,
    pipelineParallelSize,
    job,
    signal,
    onProgress,
    onWarning: warnInFlags,
  };
  try {
    const llm = await LLM.load(folder, { ...contextLimits(values), ...engineOptions, ...load });
    progress.stop();
    sayDType(llm, dtype, quiet);
    if (llm.device.device === 'cpu') await adviseNode(quiet);
    return llm;
  } finally {
    progress.stop();
  }
}

/** Says what `auto` made of weights that were stored otherwise. */
function sayDType({ dtype: { dtype, reason } }: LLM, asked: DTypeSetting | undefined, quiet: boolean): void {
  if ((asked ?? 'auto') !== 'auto' || (dtype !== 'int8' && dtype !== 'int4')) return;
  note(`Weights are ${dtype}. ${reason} (--dtype stored keeps the files' own.)`, quiet);
}

/** Storage of states, under vLLM's names for it. @param device that was decided on, as far as it is. */
export function askedStates(
  {
    device: askedDevice = 'auto',
    mambaSsmCacheDtype: stateDtype,
    enableMambaCacheStochasticRounding: isStochastic,
    replayssmBufferLen,
  }: Pick<ModelValues, 'device' | 'mambaSsmCacheDtype' | 'enableMambaCacheStochasticRounding' | 'replayssmBufferLen'>,
  device: Device,
): AskedStates {
  assertCount('replayssmBufferLen', replayssmBufferLen, 1, MOST_REPLAYED + 1);
  const asked = { stateDtype, stateRounding: isStochastic ? ('stochastic' as const) : undefined, replayssmBufferLen };
  return askedDevice === 'auto' && device !== 'auto' ? statesOn(device, asked, warnInFlags) : asked;
}

/** A warning of the library, with the command line's names for its options. */
function warnInFlags(message: string): void {
  warn(inFlags(message, { ...modelOptions, ...contextOptions }));
}

/** @throws UsageError */
export function contextLimits(values: Partial<Values<typeof contextOptions>>): LoadOptions {
  const { maxModelLen, kvCacheSize, speculativeConfig } = values;
  assertCount('maxModelLen', maxModelLen, 1);
  assertCount('kvCacheSize', kvCacheSize, 1);
  const kvCacheMemoryBytes = kvCacheSize === undefined ? undefined : kvCacheSize * MIB;
  return { maxModelLen, kvCacheMemoryBytes, speculativeConfig };
}

/** @throws UsageError */
export function assertCount(name: string, value: number | undefined, min: number, max = Number.MAX_SAFE_INTEGER): void {
  if (value === undefined || (Number.isInteger(value) && value >= min && value <= max)) return;
  const range = max === Number.MAX_SAFE_INTEGER ? `from ${min} on` : `from ${min} to ${max}`;
  throw new UsageError(`${flagName(name)} is ${value}; expected a whole number ${range}.`);
}

/** Dtype of the weights in memory. Reading it throws UnsupportedDTypeError. */
function dtypeOption(): Option<DTypeSetting | undefined> {
  const read = (given: readonly string[], flag: string) => given.map((name) => dtypeOf(name, flag)).at(-1);
  const description = `Dtype of the weights in memory: ${DTYPE_SETTINGS.join(', ')} (default: auto; stored: as in the files)`;
  return { placeholder: 'dtype', description, short: undefined, choices: DTYPE_SETTINGS, read };
}

/** Several dtypes, to compare them. */
export function dtypesOption(): Option<DTypeSetting[]> {
  const list = words('dtypes', ['auto'], `Dtype of the weights in memory: ${DTYPE_SETTINGS.join(', ')}`);
  return {
    ...list,
    choices: DTYPE_SETTINGS,
    read: (given, flag) => list.read(given, flag).map((name) => dtypeOf(name, flag)),
  };
}

/** @throws UsageError */
function dtypeOf(name: string, flag: string): DTypeSetting {
  try {
    return parseDTypeChoice(name);
  } catch {
    throw new UsageError(`${flag} is '${name}'; expected one of: ${DTYPE_SETTINGS.join(', ')}.`);
  }
}

/** A number of threads, or `auto`. */
export function threads(description: string): Option<number | 'auto' | undefined> {
  const read = (given: readonly string[], flag: string) => {
    const raw = given.at(-1);
    if (raw === undefined || raw === 'auto') return raw;
    if (/^\d{1,9}$/.test(raw) && Number(raw) > 0) return Number(raw);
    const found = Number.isNaN(Number(raw)) ? shown(raw) : raw;
    throw new UsageError(`${flag} is ${found}; expected 'auto' or an integer at least 1.`);
  };
  return { placeholder: 'number', description, short: undefined, read };
}
