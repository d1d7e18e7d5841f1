import { OutOfDeviceMemoryError } from '../index.ts';
import { type LoadedWithFallback, loadWithFallback } from './load-with-fallback.ts';
import type { ModelChoice } from './model-form.ts';

/** A loaded model, and the choice that it came from. */
export interface RunningModel extends LoadedWithFallback {
  readonly choice: ModelChoice;
}

type Watch = Parameters<typeof loadWithFallback>[1];

/**
 * Loads a model while another still runs, so that a failed load changes nothing. If memory does not hold both, the other
 * is freed first, and loaded again if the new one does not fit even then.
 *
 * @param watch progress and signal.
 * @param onFreed called when `current` is disposed of, or with the model that took its place.
 */
export async function loadBeside(
  choice: ModelChoice,
  current: RunningModel | undefined,
  watch: Watch,
  onFreed: (restored?: RunningModel) => void,
): Promise<RunningModel> {
  const load = async (from: ModelChoice) => ({
    choice: from,
    ...(await loadWithFallback(from.source, { ...from.options, ...watch })),
  });
  try {
    const loaded = await load(choice);
    await current?.llm.dispose();
    return loaded;
  } catch (error) {
    if (current === undefined || !isWantOfMemory(error)) throw error;
    await current.llm.dispose();
    onFreed();
    try {
      return await load(choice);
    } catch (again) {
      onFreed(await load(current.choice));
      throw again;
    }
  }
}

/** Whether memory ran out: WebAssembly and typed arrays throw a RangeError then. */
function isWantOfMemory(error: unknown): boolean {
  return error instanceof OutOfDeviceMemoryError || error instanceof RangeError;
}
