import { DownloadError, Mamba2Error } from '../../errors.ts';

/** As the global fetch, which not every program that uses this package has a type of. */
export type Fetch = typeof globalThis extends { fetch: infer Global } ? Global : (url: string) => Promise<Response>;

/** How a URL is read. */
export interface UrlClientOptions {
  /** Sent as a bearer token. */
  readonly token?: string | undefined;
  /** Ends every request; they reject with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Used in place of the global fetch. */
  readonly fetch?: Fetch | undefined;
  /** First wait between two tries, in milliseconds; it doubles with every try. 500 when absent. */
  readonly retryDelay?: number | undefined;
  /** Tries without any progress after which a request is given up. 4 when absent. */
  readonly maxTries?: number | undefined;
}

/** Bytes from `begin` to `end`, which is not included. */
export interface ByteRange {
  readonly begin: number;
  readonly end: number;
}

/** An answer that may be another one later. */
class TemporaryAnswer extends Error {}

/** GETs and their second tries. It works alike in Node and in browsers. */
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

  /** What {@link get} would answer, without the content. Not every server that answers the one answers the other. */
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
    if (response.status >= 500 || response.status === 408 || response.status === 429)
      throw new TemporaryAnswer(problem);
    const isRefusal = response.status === 401 || response.status === 403;
    throw new DownloadError(problem, isRefusal ? 'It may need a token, or be private.' : '');
  }

  /**
   * Runs `attempt` until it succeeds. Dropped connections and answers that say "later" are tried again, with growing
   * waits; tries that made progress, which `attempt` reports, don't count. Rejects with DownloadError.
   */
  async retry<T>(url: string, attempt: (onProgress: () => void) => Promise<T>): Promise<T> {
    const { signal, retryDelay = 500, maxTries = 4 } = this.#options;
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
        if (error instanceof Mamba2Error) throw error;
        if (++failures >= maxTries) throw failed(url, error);
        await sleep(retryDelay * 2 ** (failures - 1), signal);
      }
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

/** Ends an answer that nobody reads. Nothing waits for that, and what it says about it is of no use. */
export function discard(response: Response | undefined): void {
  response?.body?.cancel().catch(() => {});
}

function failed(url: string, cause: unknown): DownloadError {
  if (cause instanceof TemporaryAnswer) return new DownloadError(cause.message, 'Try again later.', { cause });
  const isError = cause instanceof Error;
  const reason = isError && cause.cause instanceof Error ? `${cause.message} (${cause.cause.message})` : String(cause);
  return new DownloadError(
    `'${url}' could not be fetched: ${isError && !cause.cause ? cause.message : reason}.`,
    'Check address and network. In a browser, a server of another origin must allow this one (CORS).',
    { cause },
  );
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
