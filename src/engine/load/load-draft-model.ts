import { resolveModel } from '../../checkpoint/model-source.ts';
import { ArgumentError, ModelNotFoundError } from '../../errors.ts';
import type { ModelConfig } from '../../models/causal-lm.ts';
import { defineModel } from '../../models/registry.ts';
import type { TextThreads } from '../../text/text-threads.ts';
import type { TextTokenizer } from '../../text/tokenizer.ts';
import type { ChosenDevice } from '../ranks/devices.ts';
import { DraftModel } from '../speculate/draft-model.ts';
import { OTHER_BYTES, rankBytes } from './choose-gpus.ts';
import { chooseKvCacheDType } from './choose-kv-cache-dtype.ts';
import { chooseStorage } from './choose-ranks.ts';
import { stateStorage } from './choose-state-dtype.ts';
import type { EngineContext } from './engine-options.ts';
import { checkLoadOptions, type LoadOptions, type LoadSettings } from './load-options.ts';
import { locateModel } from './locate-model.ts';
import type { StartedModel } from './start-ranks.ts';

/** Parts of a loaded model that a draft model consists of. */
interface LoadedDraft {
  readonly config: ModelConfig;
  readonly tokenizer: TextTokenizer | undefined;
  readonly texts: TextThreads;
  readonly context: EngineContext;
}

/** Options of the draft model, whose states are two for each answer. */
function draftOptions(
  settings: LoadSettings,
  device: ChosenDevice,
  tensorParallelSize: 1 | 'auto' = 'auto',
): LoadOptions {
  const { token, localFilesOnly, cacheDir, endpoint, useBrowserStorage } = settings;
  const { signal, onProgress, onWarning, workers, cpuKernels, matmulPrecision, dtype, ownThread } = settings;
  const { maxModelLen, maxNumBatchedTokens, maxNumSeqs } = settings;
  const access = { token, localFilesOnly, cacheDir, endpoint, useBrowserStorage };
  const watch = { signal, onProgress, onWarning };
  const limits = { maxModelLen, maxNumBatchedTokens, maxNumSeqs: 2 * maxNumSeqs };
  const numbers = { dtype, cpuKernels, matmulPrecision };
  return { ...access, ...watch, workers, ...numbers, device, tensorParallelSize, ownThread, ...limits };
}

/**
 * Looks for the draft model, and fetches it where it is not on this machine: the model that it guesses for takes longer to load.
 * @throws ModelNotFoundError
 */
export async function findDraftModel(settings: LoadSettings): Promise<void> {
  const { speculativeConfig: config } = settings;
  if (config?.method !== 'draft_model') return;
  try {
    await resolveModel(config.model, draftOptions(settings, 'cpu'));
  } catch (error) {
    if (!(error instanceof ModelNotFoundError)) throw error;
    throw new ModelNotFoundError(`speculativeConfig.model: ${error.problem}`, error.hint, { cause: error });
  }
}

/** Bytes that the draft model is to have on a GPU, with its states and a context of its own; 0 where settings name none. */
export async function draftBytes(settings: LoadSettings): Promise<number> {
  const { speculativeConfig: config } = settings;
  if (config?.method !== 'draft_model') return 0;
  const draft = checkLoadOptions(draftOptions(settings, 'cuda'));
  const { checkpoint } = await locateModel(config.model, draft);
  try {
    const definition = defineModel(checkpoint.config, checkpoint.names());
    const described = { checkpoint, definition };
    const { inMemory } = chooseStorage(described, draft.dtype, 'cuda', 1);
    const { maxNumSeqs: slots, maxModelLen } = draft;
    const limits = { slots, maxModelLen, kvCacheDtype: chooseKvCacheDType(described, draft) };
    const need = await rankBytes(definition, inMemory, limits, stateStorage(checkpoint.config, draft));
    return need(1) + OTHER_BYTES;
  } finally {
    await checkpoint.close();
  }
}

/**
 * Loads the model that guesses tokens, on the device of the one that it guesses for; undefined where settings name none. Where
 * that fails, the one that was loaded before is disposed of.
 * @throws ArgumentError when the models have different vocabularies.
 */
export async function loadDraftModel(
  started: StartedModel,
  settings: LoadSettings,
  load: (source: string, options: LoadOptions) => Promise<LoadedDraft>,
): Promise<DraftModel | undefined> {
  const { speculativeConfig: config, onWarning } = settings;
  if (config?.method !== 'draft_model') return undefined;
  try {
    const { device } = started.device;
    // A program that asked for one thread gets no others.
    const options = draftOptions(settings, device, device !== 'cuda' && started.tensorParallelSize === 1 ? 1 : 'auto');
    const loaded = await load(config.model, options);
    const { context, texts } = loaded;
    try {
      assertSameVocabulary(started, loaded);
    } catch (error) {
      await context.executor.dispose();
      throw error;
    } finally {
      await texts.dispose();
    }
    const onFailure = (error: Error) =>
      onWarning(`The draft model has failed: ${error.message} No tokens are guessed any more.`);
    return new DraftModel({ ...context, slots: 2 * settings.maxNumSeqs, onFailure });
  } catch (error) {
    await started.executor.dispose();
    throw error;
  }
}

function assertSameVocabulary({ config, text }: StartedModel, draft: LoadedDraft): void {
  const [size, draftSize] = [config.vocabSize, draft.config.vocabSize];
  if (size !== draftSize) {
    throw new ArgumentError(
      `The draft model has a vocabulary of ${draftSize} tokens, the model one of ${size}.`,
      'Use a draft model with the same tokenizer.',
    );
  }
  const differing = firstDifference(text.tokenizer, draft.tokenizer);
  if (differing === undefined) return;
  throw new ArgumentError(
    `Token ${differing} is another text in the draft model's vocabulary.`,
    'Use a draft model with the same tokenizer.',
  );
}

/** The first token whose text differs; undefined where one of them has no tokenizer. */
function firstDifference(a: TextTokenizer | undefined, b: TextTokenizer | undefined): number | undefined {
  if (!a || !b) return undefined;
  for (let id = 0; id < Math.max(a.vocabSize, b.vocabSize); id++) if (a.tokenText(id) !== b.tokenText(id)) return id;
  return undefined;
}
