import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { moduleFolder } from '../../distributed/module-file.ts';

/** A file of the chat page, held in memory. */
export interface PageFile {
  readonly content: Uint8Array<ArrayBuffer>;
  readonly contentType: string;
  readonly etag: string;
}

/** Folder of the built page, also for a source tree, which has its build in `dist`. A bundle has none. */
export function pageFolder(): URL | undefined {
  const path = import.meta.url?.endsWith('.ts') ? '../../../dist/page/' : '../../page/';
  return moduleFolder(path, 'server/pages/page-files', import.meta.url);
}

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** Files of the page by path. Empty without the folder, as in a source tree that was not built. */
export function readPage(folder: URL | undefined): ReadonlyMap<string, PageFile> {
  if (!folder || !existsSync(folder)) return new Map();
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => name.replaceAll('\\', '/'));
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
