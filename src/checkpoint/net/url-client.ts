import { DownloadError, Mamba2Error } from '../../errors.ts';
import { describeFailure, isTemporary, type RetryOptions, retry } from './retry.ts';

/** Type of the global fetch, which is not declared in every program that uses this package. */
export type Fetch = typeof globalThis extends { fetch: infer Global } ? Global : (url: string) => Promise<Response>;

/** Options of reading a URL. */
export interface UrlClientOptions extends RetryOptions {
  /** Sent as a bearer token. */
  readonly token?: string | undefined;
  /** Used in place of the global fetch. */
  readonly fetch?: Fetch | undefined;
}

/** Bytes from `begin` to `end`, which is not included. */
export interface ByteRange {
  readonly begin: number;
  readonly end: number;
}

/** An answer that may be different later. */
class TemporaryAnswer extends Error {}

/** GET and HEAD requests, and their repetition. It works alike in Node and in browsers. */
export class UrlClient {
  readonly #options: UrlClientOptions;
  #endStream: () => void = () => {};

  constructor(options: UrlClientOptions) {
    this.#options = options;
  }

  /**
   * A file, or a range of it. Undefined when there is none, and when the answer is a page: servers of applications send
   * their start page for every path that they don't know. Rejects with DownloadError when the server refuses.
   */
  async get(url: string, range?: ByteRange): Promise<Response | undefined> {
    return this.#answer(url, 'GET', range && { range: `bytes=${range.begin}-${range.end - 1}` });
  }

  /** Like {@link get}, but without the content. Some servers refuse it for files that they give. */
  async head(url: string): Promise<Response | undefined> {
    return this.#answer(url, 'HEAD');
  }

  async #answer(url: string, method: string, headers: Record<string, string> = {}): Promise<Response | undefined> {
    const response = await this.#request(url, method, headers);
    const isPage = /^text\/html\b/i.test(response.headers.get('content-type') ?? '');
    if (response.status === 404 || response.status === 410 || (response.ok && isPage)) {
      discard(response);
      return undefined;
    }
    if (response.ok || response.status === 416) return response;
    discard(response);
    const problem = `The server answered ${response.status} for '${url}'.`;
    if (isTemporary(response.status)) throw new TemporaryAnswer(problem);
    const isRefusal = response.status === 401 || response.status === 403;
    throw new DownloadError(problem, isRefusal ? 'It may need a token, or be private.' : '');
  }

  /** Repeats an attempt as {@link retry} does. Rejects with DownloadError, or the signal's reason. */
  async retry<T>(url: string, attempt: (onProgress: () => void) => Promise<T>): Promise<T> {
    try {
      return await retry(attempt, this.#options);
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      throw error instanceof Mamba2Error ? error : failed(url, error);
    }
  }

  /** Ends the stream that was begun before, if any: a host takes few connections, and a stream not read holds one. */
  beginStream(end: () => void): void {
    this.#endStream();
    this.#endStream = end;
  }

  async #request(url: string, method: string, headers: Record<string, string>): Promise<Response> {
    const { token, signal } = this.#options;
    const request = this.#options.fetch ?? fetch;
    const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
    return request(url, { method, headers: { ...headers, ...authorization }, signal: signal ?? null });
  }
}

/** Cancels an answer that is not read. Nothing waits for the end, and errors in it do not matter. */
export function discard(response: Response | undefined): void {
  response?.body?.cancel().catch(() => {});
}

function failed(url: string, cause: unknown): DownloadError {
  if (cause instanceof TemporaryAnswer) return new DownloadError(cause.message, 'Try again later.', { cause });
  return new DownloadError(
    `'${url}' could not be fetched: ${describeFailure(cause)}.`,
    'Check address and network. In a browser, a server of another origin must allow this one (CORS).',
    { cause },
  );
}
