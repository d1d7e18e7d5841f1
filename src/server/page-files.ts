import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { extname } from 'node:path';

/** A file of the chat page, held in memory. */
export interface PageFile {
  readonly content: Uint8Array<ArrayBuffer>;
  readonly contentType: string;
  readonly etag: string;
}

/** Beside this folder in the package. A source tree has the page's TypeScript here, and in its build what browsers run. */
export const PAGE_FOLDER = new URL(import.meta.url.endsWith('.ts') ? '../../dist/page/' : '../page/', import.meta.url);

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** The page's files by path. None in a source tree that was not built. */
export function readPage(folder: URL): ReadonlyMap<string, PageFile> {
  const names = existsSync(folder) ? readdirSync(folder) : [];
  return new Map(
    names.flatMap((name) => {
      const contentType = CONTENT_TYPES[extname(name)];
      if (contentType === undefined) return [];
      const content = Uint8Array.from(readFileSync(new URL(name, folder)));
      const etag = `"${createHash('sha256').update(content).digest('base64url').slice(0, 22)}"`;
      return [[name === 'index.html' ? '/' : `/page/${name}`, { content, contentType, etag }]] as const;
    }),
  );
}
