import { StorageQuotaError } from '../../errors.ts';
import type { StorageFile } from './storage-folder.ts';

/** Bytes that an origin uses and may use; absent where a browser does not say. */
export type StorageEstimator = () => Promise<{ readonly usage?: number; readonly quota?: number }>;

const HINT = 'Free some disk space, delete stored models, or load it without storing it (useBrowserStorage: false).';

/** @throws StorageQuotaError when the browser says that it would not store as many more bytes. */
export async function assertQuota(estimate: StorageEstimator, name: string, bytes: number): Promise<void> {
  const { usage = 0, quota } = await estimate();
  if (quota === undefined || bytes <= quota - usage) return;
  const free = megabytes(Math.max(0, quota - usage));
  throw new StorageQuotaError(
    `'${name}' needs ${megabytes(bytes)}, but the browser can store only ${free} more.`,
    HINT,
  );
}

/**
 * Takes the room for all of a file before any of it is there: some browsers say that they store more than they do.
 * @throws StorageQuotaError
 */
export function reserve(file: StorageFile, name: string, size: number): void {
  const before = file.getSize();
  try {
    file.truncate(size);
  } catch (error) {
    if (!isQuotaError(error)) throw error;
    file.truncate(Math.min(before, size));
    throw new StorageQuotaError(`'${name}' needs ${megabytes(size)}, more than the browser can store.`, HINT);
  }
}

/** Writes all of it. @throws StorageQuotaError */
export function writeFully(file: StorageFile, name: string, bytes: Uint8Array, at: number): void {
  let written = 0;
  try {
    written = file.write(bytes, { at });
  } catch (error) {
    if (!isQuotaError(error)) throw error;
  }
  if (written < bytes.length) throw new StorageQuotaError(`The browser has no room for the rest of '${name}'.`, HINT);
}

/** The error for a browser's refusal to store more; undefined for other errors. */
export function quotaErrorOf(error: unknown, name: string): StorageQuotaError | undefined {
  if (!isQuotaError(error)) return undefined;
  return new StorageQuotaError(`The browser has no room for the rest of '${name}'.`, HINT, { cause: error });
}

function isQuotaError(error: unknown): boolean {
  return error instanceof Error && error.name === 'QuotaExceededError';
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}
