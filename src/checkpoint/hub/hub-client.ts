import { HubApiError, listFiles, modelInfo } from '@huggingface/hub';
import { DownloadError, type Mamba2Error, ModelNotFoundError } from '../../errors.ts';
import { isTemporary, retry } from '../net/retry.ts';
import { type HubOptions, resolveEndpoint } from './hub-options.ts';
import { resolveToken } from './hub-token.ts';

/** A file of a repository, as the hub lists it. */
export interface HubFile {
  /** Relative to the repository, with '/'. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Name of the blob in the cache: SHA-256 of the content for LFS files, else the id of the git blob (SHA-1). */
  readonly etag: string;
}

/** The requests of one resolve: adds the token, honours the signal, retries, and turns failures into our errors. */
export class HubClient {
  readonly endpoint: string;
  readonly repoId: string;
  readonly signal: AbortSignal | undefined;
  readonly #fetch: typeof fetch;
  readonly #token: string | undefined;
  readonly #retryDelay: number | undefined;

  private constructor(repoId: string, options: HubOptions, token: string | undefined) {
    this.repoId = repoId;
    this.endpoint = resolveEndpoint(options.endpoint);
    this.signal = options.signal;
    this.#fetch = options.fetch ?? fetch;
    this.#token = token;
    this.#retryDelay = options.retryDelay;
  }

  /** Throws ArgumentError on a bad endpoint. */
  static async create(repoId: string, options: HubOptions): Promise<HubClient> {
    return new HubClient(repoId, options, await resolveToken(options.token));
  }

  /** The commit id that a branch, tag or commit stands for. */
  async commitOf(revision: string): Promise<string> {
    const { sha } = await this.#api(`revision '${revision}'`, (fetch) =>
      modelInfo({ name: this.repoId, revision, hubUrl: this.endpoint, additionalFields: ['sha'], fetch }),
    );
    if (/^[0-9a-f]{40,64}$/.test(sha)) return sha;
    throw new DownloadError(`The hub gave '${sha}' as the commit of '${this.repoId}'.`, 'Check HF_ENDPOINT.');
  }

  /** URL of a file of a commit. */
  fileUrl(commit: string, path: string): string {
    return `${this.endpoint}/${this.repoId}/resolve/${commit}/${path.split('/').map(encodeURIComponent).join('/')}`;
  }

  /** The files of the repository: some keep each quantisation in a sub-folder. */
  async files(commit: string): Promise<HubFile[]> {
    const repo = { type: 'model', name: this.repoId } as const;
    return this.#api('its files', async (fetch) => {
      const files: HubFile[] = [];
      for await (const entry of listFiles({ repo, revision: commit, recursive: true, hubUrl: this.endpoint, fetch })) {
        const etag = entry.lfs?.oid ?? entry.oid ?? '';
        if (entry.type === 'file') files.push({ path: entry.path, size: entry.lfs?.size ?? entry.size, etag });
      }
      return files;
    });
  }

  /** Repeats an attempt as {@link retry} does; `what` names its subject. Refusals become this library's errors. */
  async retry<T>(what: string, attempt: (onProgress: () => void) => Promise<T>): Promise<T> {
    const refusing = (onProgress: () => void) =>
      attempt(onProgress).catch((error: unknown) => {
        const isRefusal = error instanceof HubApiError && !isTemporary(error.statusCode);
        throw isRefusal ? this.#refused(error.statusCode, what, error) : error;
      });
    return retry(refusing, { signal: this.signal, retryDelay: this.#retryDelay });
  }

  /** GET of a file. Throws HubApiError unless the status is 200, 206 or 416. */
  async download(url: string, offset: number): Promise<Response> {
    const headers: Record<string, string> = { 'accept-encoding': 'identity' };
    if (offset > 0) headers.range = `bytes=${offset}-`;
    const response = await this.#request(url, { headers });
    if (response.ok || response.status === 416) return response;
    await response.body?.cancel();
    throw new HubApiError(url, response.status, undefined, `HTTP status ${response.status}`);
  }

  #api<T>(what: string, call: (request: typeof fetch) => Promise<T>): Promise<T> {
    return this.retry(what, () => call((input, init) => this.#request(input, init)));
  }

  async #request(input: Parameters<typeof fetch>[0], init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    const url = new URL(input instanceof Request ? input.url : input);
    // A listing may link to its next page on another host, which must not get the token.
    if (this.#token !== undefined && url.origin === new URL(this.endpoint).origin) {
      headers.set('authorization', `Bearer ${this.#token}`);
    }
    return this.#fetch(input, { ...init, headers, signal: this.signal ?? null });
  }

  #refused(status: number, what: string, cause: unknown): Mamba2Error {
    const answer = `The hub answered ${status} for ${what} of '${this.repoId}'`;
    const page = `${this.endpoint}/${this.repoId}`;
    if (status === 404) {
      return new ModelNotFoundError(`${answer}: it does not exist.`, `Check the name at ${page}.`, { cause });
    }
    if (status === 401) {
      return new DownloadError(
        `${answer}: the repository is private, gated, or does not exist.`,
        'Check the name; if it is right, set HF_TOKEN to a token that may read it (https://huggingface.co/settings/tokens).',
        { cause },
      );
    }
    if (status === 403) {
      return new DownloadError(
        `${answer}: this token may not read it.`,
        `If the model is gated, accept its licence at ${page}; then set HF_TOKEN to a token of that account.`,
        { cause },
      );
    }
    return new DownloadError(`${answer}.`, 'Check HF_ENDPOINT.', { cause });
  }
}
