import { Checkpoint } from '../../checkpoint/checkpoint.ts';
import type { HubOptions } from '../../checkpoint/hub/hub-options.ts';
import { resolveModel } from '../../checkpoint/model-source.ts';
import { openModelFiles } from '../../checkpoint/open-model-files.ts';
import { refuseQuantized } from '../../checkpoint/quantized.ts';
import { physicalCores } from '../../distributed/physical-cores.ts';
import { singleProcess } from '../../distributed/process-group.ts';
import type { WorkerScripts } from '../../distributed/worker-scripts.ts';
import { ArgumentError, ShardingError } from '../../errors.ts';
import type { ModelConfig } from '../../models/causal-lm.ts';
import { defineModel } from '../../models/registry.ts';
import type { DTypeChoice } from '../../tensor/dtype.ts';
import type { ChatTemplate } from '../../text/chat-template.ts';
import { openText } from '../../text/text-source.ts';
import { TextThreads } from '../../text/text-threads.ts';
import type { TextTokenizer } from '../../text/tokenizer.ts';
import { checkDevice, type Device, weightStorage } from '../ranks/devices.ts';
import { checkpointDType, loadRank, type RankOptions } from '../ranks/load-rank.ts';
import { canShareMemory, isPage } from '../ranks/rank-thread.ts';
import type { Executor } from '../run/executor.ts';
import type { SamplingDefaults } from '../sample/sampling-params.ts';
import { hasOwnHead, OWN_HEAD_WARNING } from '../weights/stored-head.ts';
import { chooseDevice, type DeviceChoice } from './choose-device.ts';
import { endOfTextIds } from './end-of-text.ts';
import type { EngineContext, EngineLimits } from './engine-options.ts';
import { readSamplingDefaults } from './generation-config.ts';
import { identifyLoaded } from './loaded-identity.ts';
import type { ModelIdentity } from './model-identity.ts';

/** How `LLM.load` finds and holds a model. Hub options apply where the source is a hub id; `token` with a URL, too. */
export interface LoadOptions extends Omit<HubOptions, 'fetch'>, EngineLimits {
  /** Default: auto. */
  readonly device?: Device | undefined;
  /** How weights are stored: auto (as in the checkpoint), float32, bfloat16, float16, int8 or int4. Default: auto. */
  readonly dtype?: DTypeChoice | undefined;
  /**
   * Threads that share the model; divides its heads. auto: as many as the machine has cores and the heads allow.
   * Default: 1. In a browser more than one needs a page that is cross-origin isolated.
   */
  readonly tensorParallelSize?: number | 'auto' | undefined;
  /**
   * Compute on a thread of its own where one rank has the model on the processor, so that a step, which may take a second,
   * does not hold the program's own thread: for servers. Several ranks always have threads of their own, and so has one in
   * a browser. Default: false.
   */
  readonly ownThread?: boolean | undefined;
  /** Answers whose state is kept at once; further ones wait. Default: 16. */
  readonly maxNumSeqs?: number | undefined;
  /** Tokens processed in one step. Default: 512. */
  readonly maxNumBatchedTokens?: number | undefined;
  /**
   * Memory for keys and values of attention layers, as one rank alone would hold them. Default: for `maxNumSeqs` sequences
   * of 4096 tokens, or one of 32768 (of `maxModelLen`, where that is given), but at most 1 GiB unless `maxModelLen` takes
   * more.
   */
  readonly kvCacheMemoryBytes?: number | undefined;
  /** Refuse weights that are NaN or infinite. Default: false. */
  readonly checkFinite?: boolean | undefined;
  /**
   * In a browser: keep the model's files in the private file system, where the browser has one, so that the next load
   * fetches nothing that has not changed, and an interrupted one goes on. Default: true.
   */
  readonly useBrowserStorage?: boolean | undefined;
  /** Jinja source in place of the model's own chat template; null: none. Default: the model's own. */
  readonly chatTemplate?: string | null | undefined;
  /** Told of what is wrong with a model that loads all the same. Default: `console.warn`. */
  readonly onWarning?: ((message: string) => void) | undefined;
  /** Where the scripts of workers are, for programs whose bundler does not find them. Default: beside the package's own. */
  readonly workers?: WorkerScripts | undefined;
  /** Load the model again when a rank fails: requests that ran end with the error, others go on. Default: false. */
  readonly recover?: boolean | undefined;
}

/** A model with all that stands around it. */
export interface LoadedModel {
  readonly folder: string;
  readonly config: ModelConfig;
  readonly tokenizer: TextTokenizer | undefined;
  readonly chatTemplate: ChatTemplate | undefined;
  readonly texts: TextThreads;
  readonly context: EngineContext;
  /** What tells it from others. Rejects with ModelChangedError where that is not known and the files were replaced. */
  readonly identify: () => Promise<ModelIdentity>;
  readonly samplingDefaults: SamplingDefaults;
  readonly device: DeviceChoice;
  /** Ranks that share it. */
  readonly tensorParallelSize: number;
}

/** Finds a model, checks that its parts fit each other, and loads it. */
export async function loadModel(source: string, options: LoadOptions): Promise<LoadedModel> {
  const { tensorParallelSize = 1, maxNumSeqs = 16, maxNumBatchedTokens = 512, signal } = options;
  const { maxModelLen, maxQueueSize, enablePrefixCaching, prefixCacheBytes, snapshotInterval, maxUnreadTokens } =
    options;
  const counts = {
    tensorParallelSize,
    maxNumSeqs,
    maxNumBatchedTokens,
    maxModelLen,
    snapshotInterval,
    maxUnreadTokens,
  };
  for (const [name, value] of Object.entries(counts)) {
    if (value !== undefined && value !== 'auto' && (!Number.isInteger(value) || value < 1)) {
      throw new ArgumentError(`${name} is ${value}.`, 'Use a whole number from 1 on.');
    }
  }
  const asked: RankOptions = {
    name: source,
    device: options.device ?? 'auto',
    dtype: options.dtype ?? 'auto',
    slots: maxNumSeqs,
    maxModelLen,
    kvCacheMemoryBytes: options.kvCacheMemoryBytes,
    checkFinite: options.checkFinite ?? false,
  };
  // What can't work fails before anything is fetched.
  checkRanksCanRun(tensorParallelSize);
  checkDevice(asked.device);
  weightStorage(asked.dtype, 'float32');
  if (asked.device === 'webgpu') checkAlone(tensorParallelSize);

  const folder = await resolveModel(source, options);
  const { token, onProgress, localFilesOnly, useBrowserStorage = true } = options;
  const { workers } = options;
  const access = { name: source, token, localFilesOnly, useBrowserStorage, workers };
  const files = await openModelFiles(folder, { ...access, onProgress, signal });
  const checkpoint = await Checkpoint.open(files, { signal });
  try {
    await refuseQuantized(checkpoint);
    const asWritten = defineModel(checkpoint.config, checkpoint.names());
    const untieHead = await hasOwnHead(asWritten, checkpoint, { signal });
    if (untieHead) (options.onWarning ?? printWarning)(OWN_HEAD_WARNING);
    const { config } = untieHead ? defineModel(checkpoint.config, checkpoint.names(), { untieHead }) : asWritten;
    const { vocabSize } = config;
    const {
      tokenizer,
      chatTemplate,
      source: textSource,
    } = await openText(files, {
      vocabSize,
      chatTemplate: options.chatTemplate,
    });
    tokenizer?.assertFits(vocabSize);
    const generationConfig = checkpoint.generationConfig ?? {};
    const eosTokenIds = endOfTextIds({ config, json: checkpoint.config, generationConfig, tokenizer });
    const samplingDefaults = readSamplingDefaults(generationConfig);
    const choice = await chooseDevice(asked.device, checkpoint, config, tensorParallelSize);
    onProgress?.({ status: 'device', name: source, ...choice });
    const rankOptions = { ...asked, device: choice.device, untieHead };
    const most = choice.device === 'webgpu' ? 1 : mostRanks(config.numHeads);
    const ranks = tensorParallelSize === 'auto' ? most : tensorParallelSize;
    const reopened = async <T>(use: (again: Checkpoint) => Promise<T>): Promise<T> => {
      const again = await Checkpoint.open(await openModelFiles(folder, access));
      try {
        return await use(again);
      } finally {
        await again.close();
      }
    };
    const { weightDType, quantConfig } = weightStorage(rankOptions.dtype, checkpointDType(checkpoint));
    const dtype = quantConfig?.weightDType('', 'projection') ?? weightDType;
    const executor = await startRanks(checkpoint, config, ranks, rankOptions, options);
    const identity = await identifyLoaded(checkpoint, { config, untieHead, dtype }, reopened).catch(
      async (error: unknown) => {
        await executor.dispose();
        throw error;
      },
    );
    const reloadExecutor = (signal: AbortSignal) =>
      reopened(async (again) => {
        // States would go on in another model.
        await identity.assertSame(again);
        return startRanks(again, config, ranks, rankOptions, { signal, ownThread: options.ownThread, workers });
      });
    options.onProgress?.({ status: 'ready', name: source });
    return {
      folder,
      config,
      tokenizer,
      chatTemplate,
      texts: new TextThreads({ tokenizer, chatTemplate }, textSource, workers?.text),
      context: {
        executor,
        reloadExecutor: options.recover ? reloadExecutor : undefined,
        tokenizer,
        eosTokenIds,
        vocabSize,
        maxNumSeqs,
        maxNumBatchedTokens,
        maxModelLen,
        maxQueueSize,
        enablePrefixCaching,
        prefixCacheBytes,
        snapshotInterval,
        maxUnreadTokens,
      },
      identify: identity.identify,
      samplingDefaults,
      device: choice,
      tensorParallelSize: ranks,
    };
  } finally {
    await checkpoint.close();
  }
}

function printWarning(message: string): void {
  // biome-ignore lint/suspicious/noConsole: what makes other answers than expected must not pass in silence.
  console.warn(`mamba2: ${message}`);
}

/** The largest number of ranks that have a core each, that can share memory, and that divides the heads: what `auto` is. */
export function mostRanks(numHeads = 0): number {
  let ranks = canShareMemory() ? physicalCores() : 1;
  while (numHeads % ranks !== 0) ranks--;
  return ranks;
}

async function startRanks(
  checkpoint: Checkpoint,
  config: ModelConfig,
  size: number,
  options: RankOptions,
  watch: LoadOptions,
): Promise<Executor> {
  const hasOwnThread = isPage() || (watch.ownThread && options.device !== 'webgpu');
  if (size === 1 && !hasOwnThread) return loadRank(checkpoint, singleProcess, options, watch);
  if (config.numHeads !== undefined && config.numHeads % size !== 0) {
    throw new ShardingError(
      `tensorParallelSize is ${size}, which does not divide the model's ${config.numHeads} heads.`,
      'Use a divisor of the heads.',
    );
  }
  // Loaded on need: one rank works where there are no threads.
  const { RankExecutor } = await import('../ranks/rank-executor.ts');
  return RankExecutor.load(checkpoint.files, size, options, watch);
}

function checkAlone(tensorParallelSize: number | 'auto'): void {
  if (tensorParallelSize === 'auto' || tensorParallelSize === 1) return;
  throw new ShardingError(`The device 'webgpu' runs one rank; tensorParallelSize is ${tensorParallelSize}.`, 'Use 1.');
}

function checkRanksCanRun(tensorParallelSize: number | 'auto'): void {
  if (tensorParallelSize === 'auto' || tensorParallelSize === 1 || canShareMemory()) return;
  throw new ShardingError(
    `tensorParallelSize is ${tensorParallelSize}, but this page is not cross-origin isolated, so workers can't share memory.`,
    "Serve it with the headers 'Cross-Origin-Opener-Policy: same-origin' and 'Cross-Origin-Embedder-Policy: require-corp', or use 1.",
  );
}
