import { LLM, type LoadOptions, UnsupportedDeviceError } from '../index.ts';

/** A model, and where it did not run though it was asked to. */
export interface LoadedWithFallback {
  readonly llm: LLM;
  /** Why it runs on the processor after all; undefined where it runs where it should. */
  readonly fallbackReason: string | undefined;
}

/** Loads a model where it should run; on the processor where this browser has no such device. */
export async function loadWithFallback(source: string, options: LoadOptions): Promise<LoadedWithFallback> {
  try {
    return { llm: await LLM.load(source, options), fallbackReason: undefined };
  } catch (error) {
    if (!(error instanceof UnsupportedDeviceError)) throw error;
    return { llm: await LLM.load(source, { ...options, device: 'cpu' }), fallbackReason: error.message };
  }
}
