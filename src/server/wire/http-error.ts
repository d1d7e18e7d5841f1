import {
  ChatTemplateError,
  ContextLengthError,
  DisposedError,
  EmptyPromptError,
  EngineDeadError,
  MissingPackageError,
  QueueFullError,
  SamplingParamsError,
  ShutdownError,
  StructuredOutputsError,
  TextLimitError,
  TokenIdError,
  TokenizerError,
} from '../../errors.ts';

/** Statuses of errors. 499 is for the log only: the client has left. */
export type ErrorStatus = 400 | 401 | 404 | 405 | 413 | 415 | 429 | 499 | 500 | 503;

/** Details of an error besides its message. */
export interface HttpErrorDetails {
  /** Field of the request that the error is about. */
  readonly param?: string | undefined;
  /** Code for programs, which stays the same between versions. */
  readonly code?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly cause?: unknown;
}

/** Error that a request is answered with, in OpenAI's form. */
export class HttpError extends Error {
  readonly status: ErrorStatus;
  readonly param: string | undefined;
  readonly code: string | undefined;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: ErrorStatus, message: string, { param, code, headers = {}, cause }: HttpErrorDetails = {}) {
    super(message, { cause });
    this.name = 'HttpError';
    this.status = status;
    this.param = param;
    this.code = code;
    this.headers = headers;
  }

  /** Body of the answer, or of the event that ends a stream. */
  toJSON(): ErrorBody {
    const { message, param = null, code = null } = this;
    return { error: { message, type: typeOf(this.status), param, code } };
  }
}

/** An error in OpenAI's form. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

/** Error for a mistake in the request. */
export function badRequest(message: string, param?: string, code?: string): HttpError {
  return new HttpError(400, message, { param, code });
}

/**
 * Answer to any error, of the library or not. Details that clients should not see, such as paths and stacks, stay in
 * `cause`, for the log.
 * @param fieldNames names of the engine's parameters in the request, where they differ.
 */
export function toHttpError(error: unknown, fieldNames?: ReadonlyMap<string, string>): HttpError {
  if (error instanceof HttpError) return error;
  if (error instanceof SamplingParamsError) return samplingError(error, fieldNames);
  if (error instanceof TokenIdError || error instanceof EmptyPromptError || error instanceof TextLimitError) {
    return new HttpError(400, error.message, { code: error.code, cause: error });
  }
  if (error instanceof StructuredOutputsError || error instanceof MissingPackageError) {
    return new HttpError(400, error.message, { code: error.code, cause: error });
  }
  if (error instanceof ContextLengthError) {
    // OpenAI's code, which clients compare with.
    return new HttpError(400, error.message, { code: 'context_length_exceeded', cause: error });
  }
  if (error instanceof ChatTemplateError) {
    const param = fieldNames?.get('messages') ?? 'messages';
    return new HttpError(400, error.message, { param, code: error.code, cause: error });
  }
  if (error instanceof TokenizerError) {
    const message = 'This model has no tokenizer: send token ids, and neither stop strings nor bad words.';
    return new HttpError(400, message, { code: error.code, cause: error });
  }
  if (error instanceof QueueFullError) {
    return new HttpError(429, error.message, { code: error.code, headers: RETRY_SOON, cause: error });
  }
  if (error instanceof ShutdownError || error instanceof DisposedError) {
    return new HttpError(503, 'The server is shutting down. Send the request elsewhere, or later.', {
      code: 'shutdown',
      headers: { ...RETRY_SOON, connection: 'close' },
      cause: error,
    });
  }
  if (error instanceof EngineDeadError) {
    const message = 'The model failed and could not be loaded again; the log says why. Send the request elsewhere.';
    return new HttpError(503, message, { code: error.code, cause: error });
  }
  return new HttpError(500, 'The server failed to answer; its log says why.', { code: 'internal', cause: error });
}

const RETRY_SOON = { 'retry-after': '1' };

/** A parameter's name in requests (snake_case) from its name in the engine (camelCase). */
function samplingError(error: SamplingParamsError, fieldNames?: ReadonlyMap<string, string>): HttpError {
  const name = error.param?.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  const param = name === undefined ? undefined : (fieldNames?.get(name) ?? name);
  const message = param === undefined ? error.message : error.messageFor(param);
  return new HttpError(400, message, { param, code: error.code, cause: error });
}

/** The error itself; or, if the client has left, one that says so. */
export function unlessGone(error: unknown, signal: AbortSignal): unknown {
  return signal.aborted ? clientGone(error) : error;
}

export function clientGone(cause?: unknown): HttpError {
  return new HttpError(499, 'The client closed the connection.', { cause });
}

function typeOf(status: ErrorStatus): string {
  if (status === 429) return 'rate_limit_error';
  if (status === 401) return 'authentication_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
}
