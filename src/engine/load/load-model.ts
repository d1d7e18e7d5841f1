import type { WorkerScript } from '../../distributed/worker-scripts.ts';
import { OutOfDeviceMemoryError } from '../../errors.ts';
import type { ModelConfig } from '../../models/causal-lm.ts';
import type { MatrixDType } from '../../tensor/block-formats.ts';
import type { StorageSetting } from '../../tensor/dtype.ts';
import type { ChatTemplate } from '../../text/chat/chat-template.ts';
import { TextThreads } from '../../text/text-threads.ts';
import type { TextTokenizer } from '../../text/tokenizer.ts';
import type { SamplingDefaults } from '../sample/sampling-params.ts';
import { chooseDevice, type DeviceChoice } from './choose-device.ts';
import { chooseRanks } from './choose-ranks.ts';
import { statesOn } from './choose-state-dtype.ts';
import { type DescribedModel, describeModel } from './describe-model.ts';
import type { EngineContext } from './engine-options.ts';
import { draftBytes, findDraftModel, loadDraftModel } from './load-draft-model.ts';
import { checkLoadOptions, defaultStepTokens, type LoadOptions, type LoadSettings } from './load-options.ts';
import { locateModel } from './locate-model.ts';
import type { ModelIdentity } from './model-identity.ts';
import { sharedStatesSource } from './shared-states-source.ts';
import { type StartedModel, startRanks } from './start-ranks.ts';

/** Storage of a model's matrices. */
export interface LoadedDType {
  /** Dtype of the matrices, or the format of most of them. */
  readonly dtype: MatrixDType;
  /** Why it was chosen, in a sentence. */
  readonly reason: string;
}

/** A model that can run, with its tokenizer, template and defaults. */
export interface LoadedModel {
  readonly folder: string;
  readonly config: ModelConfig;
  readonly tokenizer: TextTokenizer | undefined;
  readonly chatTemplate: ChatTemplate | undefined;
  readonly texts: TextThreads;
  /** Location of the script of the worker for grammars, if the caller gave one. */
  readonly grammarScript: WorkerScript | undefined;
  readonly context: EngineContext;
  /** The model's identity. Rejects with ModelChangedError if it was not read before the files were replaced. */
  readonly identify: () => Promise<ModelIdentity>;
  readonly samplingDefaults: SamplingDefaults;
  readonly device: DeviceChoice;
  readonly dtype: LoadedDType;
  /** The dtype as ranks are told. */
  readonly storage: StorageSetting;
  /** Ranks that share it. */
  readonly tensorParallelSize: number;
}

/** Finds a model, checks that its parts fit each other, decides where it runs, and loads its weights. */
export async function loadModel(source: string, options: LoadOptions): Promise<LoadedModel> {
  const settings = checkLoadOptions(options);
  const located = await locateModel(source, settings);
  try {
    const described = await describeModel(located, settings);
    await findDraftModel(settings);
    const { started, draftSource } = await startModel(described, settings);
    settings.onProgress?.({ status: 'ready', name: source });
    const { maxNumBatchedTokens = await defaultStepTokens(started.device.device) } = settings;
    const sharedStates = await sharedStatesSource(started, settings);
    return loadedModel(started, settings, { maxNumBatchedTokens, sharedStates, draftSource });
  } finally {
    await located.checkpoint.close();
  }
}

/** A model whose ranks run, and the draft model that guesses for it, if there is one. */
interface StartedModels {
  readonly started: StartedModel;
  readonly draftSource: EngineContext['draftSource'];
}

/** Decides where a model runs, and loads its weights. `auto` gives CUDA up again where its memory is not enough. */
async function startModel(described: DescribedModel, settings: LoadSettings): Promise<StartedModels> {
  const { checkpoint, config } = described;
  const start = async (device: DeviceChoice) => {
    const own = settings.device === 'auto' ? statesOn(device.device, settings, settings.onWarning) : settings;
    // Where GPUs are to be counted, the draft model's share of one is.
    const isCounted = device.device === 'cuda' && own.tensorParallelSize === 'auto';
    const besides = isCounted ? await draftBytes(own) : 0;
    const started = await startRanks(await chooseRanks(described, own, device, besides), own);
    return { started, draftSource: await loadDraftModel(started, settings, loadModel) };
  };
  const device = await chooseDevice(settings.device, checkpoint, config, settings.tensorParallelSize);
  try {
    return await start(device);
  } catch (error) {
    const isOpen = settings.device === 'auto' && device.device === 'cuda';
    if (!isOpen || !(error instanceof OutOfDeviceMemoryError)) throw error;
    return start({ device: 'cpu', reason: `The NVIDIA GPU has too little free memory. ${error.message}` });
  }
}

function loadedModel(
  started: StartedModel,
  settings: LoadSettings,
  parts: Pick<EngineContext, 'maxNumBatchedTokens' | 'sharedStates' | 'draftSource'>,
): LoadedModel {
  const { folder, config, text, eosTokenIds, samplingDefaults, device, tensorParallelSize } = started;
  const { dtype, dtypeReason, storage } = started;
  const { tokenizer, chatTemplate, source } = text;
  const { executor, reloadExecutor, identify } = started;
  const { maxNumSeqs, maxModelLen, maxQueueSize } = settings;
  const { enablePrefixCaching, prefixCacheBytes, snapshotInterval, maxUnreadTokens, speculativeConfig } = settings;
  return {
    folder,
    config,
    tokenizer,
    chatTemplate,
    grammarScript: settings.workers?.grammar,
    texts: new TextThreads({ tokenizer, chatTemplate }, source, settings.workers?.text),
    context: {
      maxNumSeqs,
      maxModelLen,
      maxQueueSize,
      enablePrefixCaching,
      prefixCacheBytes,
      snapshotInterval,
      maxUnreadTokens,
      speculativeConfig,
      ...parts,
      executor,
      reloadExecutor: settings.recover ? reloadExecutor : undefined,
      tokenizer,
      eosTokenIds,
      vocabSize: config.vocabSize,
    },
    identify,
    samplingDefaults,
    device,
    dtype: { dtype, reason: dtypeReason },
    storage,
    tensorParallelSize,
  };
}
