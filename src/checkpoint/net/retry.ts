import { Mamba2Error } from '../../errors.ts';

/** Options of attempts that are repeated when they fail. */
export interface RetryOptions {
  /** Ends all waiting; attempts reject with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** First wait between two attempts, in milliseconds; it doubles with each. 500 when absent. */
  readonly retryDelay?: number | undefined;
  /** Attempts without any progress after which the last error is final. 4 when absent. */
  readonly maxTries?: number | undefined;
}

/**
 * Runs `attempt` until it succeeds. Failures are tried again with growing waits, except for this library's own errors,
 * which say that another attempt is of no use. Attempts that made progress, which they report, don't count.
 */
export async function retry<T>(
  attempt: (onProgress: () => void) => Promise<T>,
  { signal, retryDelay = 500, maxTries = 4 }: RetryOptions,
): Promise<T> {
  let failures = 0;
  const onProgress = () => {
    failures = 0;
  };
  for (;;) {
    signal?.throwIfAborted();
    try {
      return await attempt(onProgress);
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof Mamba2Error || ++failures >= maxTries) throw error;
      await sleep(retryDelay * 2 ** (failures - 1), signal);
    }
  }
}

/** Whether a request that was answered with this status may succeed later. */
export function isTemporary(status: number): boolean {
  return status >= 500 || status === 408 || status === 429;
}

/** An error and its cause: what fetch throws tells the reason in its cause only. */
export function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;
}

function sleep(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    function done(): void {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    }
    signal?.addEventListener('abort', done);
  });
}
