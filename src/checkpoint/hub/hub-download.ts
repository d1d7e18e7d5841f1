import { createHash } from 'node:crypto';
import { constants, type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { DownloadError, Mamba2Error } from '../../errors.ts';
import { describeFailure } from '../net/retry.ts';
import type { HubClient, HubFile } from './hub-client.ts';

/** Called with the bytes that are on disk so far. */
type OnBytes = (loaded: number) => void;

/** Damaged downloads of one file after which it is given up: a resumed part may have been of something else. */
const MAX_DAMAGED = 2;

/**
 * Fetches one file into the blob `path`. Bytes go to `<path>.incomplete`, from where an interrupted download resumes,
 * in the same folder, which must exist; the blob appears under its name only when size and checksum are right.
 *
 * There is no lock between processes: each writes every byte at its own offset, so two that fetch the same file write
 * the same content, and each publishes only the very file that it has checked.
 */
export async function downloadBlob(
  client: HubClient,
  url: string,
  file: HubFile,
  path: string,
  onBytes: OnBytes,
): Promise<void> {
  const partial = `${path}.incomplete`;
  let problem = '';
  for (let damaged = 0; damaged < MAX_DAMAGED; damaged++) {
    const handle = await fetchPartial(client, url, file, partial, onBytes);
    try {
      problem = (await findDamage(handle, file, client.signal)) ?? '';
      if (problem === '' && (await publish(handle, partial, path))) return;
    } finally {
      await handle.close();
    }
    // Another process that fetched the same file was faster.
    if ((await stat(path).catch(() => undefined))?.size === file.size) return;
    if (problem !== '') await rm(partial, { force: true });
  }
  throw new DownloadError(
    `'${file.path}' of '${client.repoId}' arrived damaged: ${problem || 'it was replaced during the download'}.`,
    'The damaged part was deleted. Check the connection and HF_ENDPOINT, then try again.',
  );
}

/** The partial file once it has all bytes, open for reading. */
async function fetchPartial(
  client: HubClient,
  url: string,
  file: HubFile,
  partial: string,
  onBytes: OnBytes,
): Promise<FileHandle> {
  let furthest = 0;
  try {
    return await client.retry(file.path, (onProgress) =>
      downloadRest(client, url, file, partial, (loaded) => {
        // Receiving the same bytes again, from a server without ranges, is no progress: it could continue forever.
        if (loaded > furthest) onProgress();
        furthest = Math.max(furthest, loaded);
        onBytes(loaded);
      }),
    );
  } catch (error) {
    client.signal?.throwIfAborted();
    if (error instanceof Mamba2Error) throw error;
    throw new DownloadError(
      `'${file.path}' of '${client.repoId}' could not be fetched: ${describeFailure(error)}.`,
      `The part received is kept in ${partial}; run again to resume.`,
      { cause: error },
    );
  }
}

async function downloadRest(
  client: HubClient,
  url: string,
  file: HubFile,
  partial: string,
  onBytes: OnBytes,
): Promise<FileHandle> {
  let handle = await open(partial, constants.O_RDWR | constants.O_CREAT);
  const restart = async () => {
    // A new file, not an empty one: another process may be about to publish the old one.
    await handle.close();
    await rm(partial, { force: true });
    handle = await open(partial, constants.O_RDWR | constants.O_CREAT);
    return 0;
  };
  try {
    let offset = (await handle.stat()).size;
    if (offset > file.size) offset = await restart();
    if (offset === file.size) return handle;
    const response = await client.download(url, offset);
    if (!continuesAt(response, offset, file.size)) {
      offset = await restart();
      if (response.status !== 200) {
        await response.body?.cancel();
        throw new Error(`the server answered ${response.status} with a range that was not asked for`);
      }
    }
    for await (const bytes of response.body ?? []) {
      if (offset + bytes.length > file.size) throw new Error(`the server sent more than ${file.size} bytes`);
      await writeAll(handle, bytes, offset);
      offset += bytes.length;
      onBytes(offset);
    }
    if (offset < file.size) throw new Error(`the connection ended after ${offset} of ${file.size} bytes`);
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Whether the answer holds exactly the rest of the file. A server that ignores ranges sends 200 and all of it. */
function continuesAt(response: Response, offset: number, size: number): boolean {
  if (offset === 0 && response.status === 200) return true;
  return response.status === 206 && response.headers.get('content-range') === `bytes ${offset}-${size - 1}/${size}`;
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    written += (await handle.write(bytes, written, bytes.length - written, position + written)).bytesWritten;
  }
}

/** Damage of a received file, found by its size and by its etag, which is a hash. */
async function findDamage(
  handle: FileHandle,
  file: HubFile,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const { size } = await handle.stat();
  if (size !== file.size) return `${size} bytes where ${file.size} were expected`;
  const isSha256 = /^[0-9a-f]{64}$/.test(file.etag);
  // Mirrors may use etags that are no hashes.
  if (!isSha256 && !/^[0-9a-f]{40}$/.test(file.etag)) return undefined;
  const hash = createHash(isSha256 ? 'sha256' : 'sha1');
  if (!isSha256) hash.update(`blob ${size}\0`);
  for await (const bytes of handle.createReadStream({ start: 0, autoClose: false, highWaterMark: 2 ** 20 })) {
    signal?.throwIfAborted();
    hash.update(bytes as Buffer);
  }
  const digest = hash.digest('hex');
  return digest === file.etag ? undefined : `its hash is ${digest}, expected ${file.etag}`;
}

/** Whether the checked file got its final name; false when another process has taken or replaced it. */
async function publish(handle: FileHandle, partial: string, path: string): Promise<boolean> {
  const [checked, named] = await Promise.all([handle.stat(), stat(partial).catch(() => undefined)]);
  if (named?.ino !== checked.ino) return false;
  return rename(partial, path).then(
    () => true,
    () => false,
  );
}
