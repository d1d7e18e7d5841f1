import { DEVICES } from '../engine/devices.ts';
import { LLM } from '../engine/llm.ts';
import type { LoadOptions } from '../engine/load-model.ts';
import { choice, flag, number, text, type Values } from './option.ts';
import { ProgressDisplay } from './progress-display.ts';
import { UsageError } from './usage-error.ts';

const DEFAULT_MODEL = 'tiny-dts';

/** Options of the commands that run a model. */
export const modelOptions = {
  model: text('model', `Folder, bundled name or hub id (default: ${DEFAULT_MODEL})`, 'm'),
  revision: text('revision', 'Branch, tag or commit of a hub model (default: main)'),
  device: choice(DEVICES, 'Where to run (default: auto)'),
  dtype: text('dtype', 'Weights as auto, float32, bfloat16, float16, int8 or int4 (default: auto, as in the files)'),
  tensorParallelSize: number('Threads that share the model (default: 1)'),
  quiet: flag('No progress and no notes', 'q'),
};

/** Values of {@link modelOptions}. */
export type ModelValues = Values<typeof modelOptions>;

/** The model that was asked for. */
export function modelName({ model = DEFAULT_MODEL }: ModelValues): string {
  if (model === '') throw new UsageError('--model is empty.', 'Give a folder, a bundled name or a hub id.');
  return model;
}

/**
 * Loads the model under a progress bar.
 * @param source where it is, when that was found out already.
 */
export async function loadModel(
  values: ModelValues,
  signal?: AbortSignal,
  source = modelName(values),
  engineOptions: LoadOptions = {},
): Promise<LLM> {
  const { revision, device, dtype, tensorParallelSize, quiet } = values;
  const progress = new ProgressDisplay(quiet);
  const { onProgress } = progress;
  const options: LoadOptions = { ...engineOptions, revision, device, dtype, tensorParallelSize, signal, onProgress };
  try {
    return await LLM.load(source, options);
  } finally {
    progress.stop();
  }
}
