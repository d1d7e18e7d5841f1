import { DownloadError } from '../../errors.ts';
import { getOwn, isJsonObject, type JsonValue } from '../json/json.ts';
import { UrlClient, type UrlClientOptions } from '../net/url-client.ts';
import { resolveEndpoint } from './hub-options.ts';

/** Repositories of models have some dozen files; a page of the listing has a thousand. */
const MAX_PAGES = 20;

/**
 * Paths of a repository's files, by requests alone: a page without a bundler can't load the hub's library. Undefined
 * where there is no such repository or revision. Rejects with DownloadError when the hub can't be asked.
 */
export async function listHubFiles(
  repoId: string,
  revision: string,
  options: UrlClientOptions & { readonly endpoint?: string | undefined },
): Promise<string[] | undefined> {
  const client = new UrlClient(options);
  const paths: string[] = [];
  const endpoint = resolveEndpoint(options.endpoint);
  let next: string | undefined = `${endpoint}/api/models/${repoId}/tree/${encodeURIComponent(revision)}?recursive=true`;
  for (let page = 0; next !== undefined && page < MAX_PAGES; page++) {
    const url: string = next;
    const answer = await client.retry(url, async () => {
      const response = await client.get(url);
      return response && { json: (await response.json()) as JsonValue, link: response.headers.get('link') };
    });
    if (answer === undefined) return undefined;
    if (!Array.isArray(answer.json)) throw new DownloadError(`'${url}' gave no list of files.`, 'Check the endpoint.');
    for (const entry of answer.json) {
      const path = isJsonObject(entry) && getOwn(entry, 'type') === 'file' ? getOwn(entry, 'path') : undefined;
      if (typeof path === 'string') paths.push(path);
    }
    const [, following] = /<([^>]+)>;\s*rel="next"/.exec(answer.link ?? '') ?? [];
    // The token is for the hub alone.
    next = following?.startsWith(`${endpoint}/`) ? following : undefined;
  }
  return paths;
}
