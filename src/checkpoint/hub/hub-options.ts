import { ArgumentError, ModelNotFoundError } from '../../errors.ts';
import type { ProgressCallback } from '../net/progress.ts';
import type { Fetch } from '../net/url-client.ts';

/** Options of fetching a model from the Hugging Face hub. */
export interface HubOptions {
  /** Branch, tag or commit id; 'main' when absent. */
  readonly revision?: string | undefined;
  /** Cache folder; when absent HF_HUB_CACHE, HF_HOME and XDG_CACHE_HOME decide, as in Python. */
  readonly cacheDir?: string | undefined;
  /** Access token; when absent HF_TOKEN, then the file that `hf auth login` writes. */
  readonly token?: string | undefined;
  /** Base URL; when absent HF_ENDPOINT, then https://huggingface.co. */
  readonly endpoint?: string | undefined;
  /** Use the cache only, as HF_HUB_OFFLINE=1 does. */
  readonly localFilesOnly?: boolean | undefined;
  readonly onProgress?: ProgressCallback | undefined;
  /** Stops the download; received bytes are kept, and the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Used in place of the global fetch, for proxies. */
  readonly fetch?: Fetch | undefined;
  /** First wait between two tries, in milliseconds; it doubles with every try. 500 when absent. */
  readonly retryDelay?: number | undefined;
}

/** Throws ModelNotFoundError unless this is `org/name` with the characters that the hub allows. */
export function assertRepoId(repoId: string): void {
  const part = /^(?!.*(--|\.\.))[A-Za-z0-9_][A-Za-z0-9._-]{0,95}(?<![.-])$/;
  const parts = repoId.split('/');
  if (parts.length === 2 && parts.every((name) => part.test(name) && !name.endsWith('.git'))) return;
  throw new ModelNotFoundError(
    `'${repoId}' is not the name of a hub repository.`,
    "Expected 'org/name' of letters, digits, '_', '-' and '.'.",
  );
}

/** Throws ArgumentError when the revision could leave the folder of the cache that holds revisions. */
export function assertRevision(revision: string): void {
  const segments = revision.split('/');
  if (/^[\w./+-]+$/.test(revision) && segments.every((name) => name !== '' && name !== '.' && name !== '..')) return;
  throw new ArgumentError(`'${revision}' is not a revision.`, 'Expected a branch, a tag or a commit id.');
}

/** The hub's base URL without a slash at the end. Throws ArgumentError when it is not an http(s) URL. */
export function resolveEndpoint(endpoint: string | undefined): string {
  const text = endpoint ?? (globalThis.process?.env?.HF_ENDPOINT || 'https://huggingface.co');
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:' && url?.protocol !== 'http:') {
    throw new ArgumentError(`The hub endpoint '${text}' is not an http(s) URL.`, 'Check HF_ENDPOINT.');
  }
  return text.replace(/\/+$/, '');
}

/** Whether the environment forbids the network, read as the Python library reads it. */
export function isOffline(): boolean {
  const flags = [process.env.HF_HUB_OFFLINE, process.env.TRANSFORMERS_OFFLINE];
  return flags.some((flag) => ['1', 'ON', 'YES', 'TRUE'].includes((flag ?? '').toUpperCase()));
}
