import { createHash } from 'node:crypto';

/** The source in a content security policy that allows a page's import map, its only inline script. */
export function importMapHash(html: string): string {
  const importMap = /<script type="importmap">(.*?)<\/script>/s.exec(html)?.[1] ?? '';
  return `'sha256-${createHash('sha256').update(importMap).digest('base64')}'`;
}
