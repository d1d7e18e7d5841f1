import { StorageQuotaError } from '../../errors.ts';

/** Bytes that an origin uses and may use; absent where a browser does not say. */
export type StorageEstimator = () => Promise<{ readonly usage?: number; readonly quota?: number }>;

/** @throws StorageQuotaError when the browser would not store as many more bytes. */
export async function assertQuota(estimate: StorageEstimator, name: string, bytes: number): Promise<void> {
  const { usage = 0, quota } = await estimate();
  if (quota === undefined || bytes <= quota - usage) return;
  throw new StorageQuotaError(
    `'${name}' needs ${megabytes(bytes)}, and the browser stores ${megabytes(Math.max(0, quota - usage))} more for this site.`,
    'Free some disk space, delete stored models, or load it without storing it (useBrowserStorage: false).',
  );
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}
