import { LLM, type LoadOptions, UnsupportedDeviceError } from '../index.ts';

/** A loaded model, and why it does not run on the requested device. */
export interface LoadedWithFallback {
  readonly llm: LLM;
  /** Why it runs on the processor instead; undefined if it runs on the requested device. */
  readonly fallbackReason: string | undefined;
}

/** Loads a model on the requested device, or on the processor if this browser has no such device. */
export async function loadWithFallback(source: string, options: LoadOptions): Promise<LoadedWithFallback> {
  try {
    return { llm: await LLM.load(source, options), fallbackReason: undefined };
  } catch (error) {
    if (!(error instanceof UnsupportedDeviceError)) throw error;
    return { llm: await LLM.load(source, { ...options, device: 'cpu' }), fallbackReason: error.message };
  }
}
