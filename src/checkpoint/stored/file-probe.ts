import { DownloadError } from '../../errors.ts';
import { type FileVersion, versionOf } from '../net/file-version.ts';
import { discard, type UrlClient } from '../net/url-client.ts';

/**
 * The version of a file on its server, without the content; undefined when there is no file. Where its headers alone
 * are not enough the first byte is asked for. Rejects as {@link UrlClient.get} does.
 */
export async function probeFile(
  client: UrlClient,
  url: string,
  isEnough: (version: FileVersion) => boolean,
): Promise<FileVersion | undefined> {
  const head = await client.head(url).catch((error: unknown) => {
    // Addresses that are signed for a GET, and simple servers, refuse.
    if (error instanceof DownloadError) return error;
    throw error;
  });
  if (head === undefined) return undefined;
  const version = head instanceof Response ? versionOf(head) : undefined;
  if (version && isEnough(version)) return version;
  const response = await client.get(url, { begin: 0, end: 1 });
  discard(response);
  // A range of an empty file.
  if (response?.status === 416) return { ...version, size: 0 };
  return response && { ...version, ...versionOf(response) };
}
