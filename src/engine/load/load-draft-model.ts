import { ArgumentError } from '../../errors.ts';
import type { ModelConfig } from '../../models/causal-lm.ts';
import type { TextThreads } from '../../text/text-threads.ts';
import type { TextTokenizer } from '../../text/tokenizer.ts';
import { DraftModel } from '../speculate/draft-model.ts';
import type { EngineContext } from './engine-options.ts';
import type { LoadOptions, LoadSettings } from './load-options.ts';
import type { StartedModel } from './start-ranks.ts';

/** Parts of a loaded model that a draft model consists of. */
interface LoadedDraft {
  readonly config: ModelConfig;
  readonly tokenizer: TextTokenizer | undefined;
  readonly texts: TextThreads;
  readonly context: EngineContext;
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
  const { speculativeConfig: config, maxNumSeqs, maxNumBatchedTokens, onWarning } = settings;
  if (config?.method !== 'draft_model') return undefined;
  try {
    const slots = 2 * maxNumSeqs;
    const { token, localFilesOnly, cacheDir, endpoint, useBrowserStorage } = settings;
    const { signal, onProgress, workers, cpuKernels, maxModelLen } = settings;
    const access = { token, localFilesOnly, cacheDir, endpoint, useBrowserStorage };
    const loaded = await load(config.model, {
      ...access,
      signal,
      onProgress,
      onWarning,
      workers,
      cpuKernels,
      device: started.device.device,
      dtype: settings.dtype,
      tensorParallelSize: 'auto',
      ownThread: settings.ownThread,
      maxModelLen,
      maxNumBatchedTokens,
      maxNumSeqs: slots,
    });
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
    return new DraftModel({ ...context, slots, onFailure });
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
