import * as errors from '../errors.ts';
import { Mamba2Error, RankFailedError } from '../errors.ts';

/** An error as plain data: cloning between threads would lose its class. */
export interface SerializedError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
}

export function serializeError(error: unknown): SerializedError {
  if (error instanceof Error) return { name: error.name, message: error.message, stack: error.stack };
  return { name: 'Error', message: String(error), stack: undefined };
}

/** The error again, of its own class where it is one of this library's. `what` names the thread that failed. */
export function reviveError(serialized: SerializedError, what = 'A rank'): Error {
  const known = Object.entries(errors).find(([name]) => name === serialized.name)?.[1];
  if (known === undefined || known === Mamba2Error) {
    return new RankFailedError(`${what} failed: ${serialized.name}: ${serialized.message}`, '', { cause: serialized });
  }
  const ErrorClass = known as new (problem: string, hint?: string, options?: { cause?: unknown }) => Mamba2Error;
  return new ErrorClass(serialized.message, '', { cause: serialized });
}
