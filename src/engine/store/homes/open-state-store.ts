import { ArgumentError } from '../../../errors.ts';
import type { StateStore } from './state-store.ts';

const EXAMPLES =
  "Write 'redis://host:6379', 'rediss://user:password@host', 's3://bucket/prefix?endpoint=https://…', 'file:///folder', or 'opfs:folder' in a browser.";

/**
 * Opens the store of states at a URL:
 *
 * - `redis://host:6379/0` and `rediss://user:password@host` (TLS): Redis or Valkey, by the package `redis`. Parameters:
 *   `ttl` in seconds (3600), `prefix` of all keys (`mamba2/`).
 * - `s3://bucket/prefix`: an S3-compatible store, by the package `@aws-sdk/client-s3`. Parameters: `endpoint`, `region`.
 *   Keys come from the environment, or as `access-key:secret-key@` before the bucket.
 * - `file:///folder`, `file:folder`: a folder that several machines mount. Parameter: `max-bytes` (10 GiB).
 * - `opfs:folder`: a folder of a browser's private file system. Parameter: `max-bytes` (1 GiB).
 *
 * The caller closes it. Rejects with ArgumentError for other URLs, and with MissingPackageError where a package is not
 * installed. A server that can't be reached is no error: the store connects when it can.
 *
 * @example
 * ```ts
 * const stateStore = await openStateStore('redis://localhost:6379');
 * const llm = await LLM.load('tiny-dts', { stateStore });
 * ```
 */
export async function openStateStore(location: string): Promise<StateStore> {
  const url = parse(location);
  switch (url.protocol) {
    case 'redis:':
    case 'rediss:':
      return (await import('./redis-store.ts')).RedisStateStore.open(url);
    case 's3:':
      return (await import('./s3-store.ts')).S3StateStore.open(url);
    case 'file:': {
      const { openFolderStore } = await import('./folder-store.ts');
      return openFolderStore(location, maxBytes(url));
    }
    case 'opfs:': {
      const { opfsStateStore } = await import('./opfs-store.ts');
      const root = await navigator.storage.getDirectory();
      const folder = await root.getDirectoryHandle(url.pathname || 'mamba2-states', { create: true });
      return opfsStateStore(folder, maxBytes(url));
    }
    default:
      throw new ArgumentError(`There is no state store at '${url.protocol}'.`, EXAMPLES);
  }
}

function parse(location: string): URL {
  try {
    return new URL(location);
  } catch (cause) {
    // Not the location itself, which may hold a password.
    throw new ArgumentError("The state store's location is not a URL.", EXAMPLES, { cause });
  }
}

function maxBytes({ searchParams }: URL): number | undefined {
  const given = searchParams.get('max-bytes');
  if (given === null) return undefined;
  if (Number(given) > 0) return Number(given);
  throw new ArgumentError(`The state store's max-bytes is ${given}.`, 'Give a number above 0.');
}
