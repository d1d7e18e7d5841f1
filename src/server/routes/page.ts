import type { Context } from 'hono';
import { importMapHash } from '../pages/import-map.ts';
import type { PageFile } from '../pages/page-files.ts';

/** `GET /` and the files of the page there. */
export function pageFile({ content, contentType, etag }: PageFile) {
  const isPage = contentType.startsWith('text/html');
  const contentSecurityPolicy = isPage ? policy(new TextDecoder().decode(content)) : "default-src 'none'";
  return (c: Context): Response => {
    const headers = {
      etag,
      // Browsers ask each time, and get the file only if it has changed.
      'cache-control': 'no-cache',
      'content-security-policy': contentSecurityPolicy,
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
    };
    if (c.req.header('if-none-match') === etag) return c.body(null, 304, headers);
    const body = isPage ? withBase(content, c.req.path) : content;
    return c.body(body, 200, { ...headers, 'content-type': contentType });
  };
}

/** Content security policy: the page runs its own scripts and talks to its own server only. */
function policy(html: string): string {
  return [
    "default-src 'none'",
    `script-src 'self' ${importMapHash(html)}`,
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'self'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
}

/**
 * Page with a `<base>` for an app that is mounted at a path such as `/llm`: its files are below `/llm/`, and without a
 * `<base>` relative URLs would miss them.
 */
function withBase(html: Uint8Array<ArrayBuffer>, path: string): Uint8Array<ArrayBuffer> | string {
  if (path.endsWith('/')) return html;
  const folder = path.slice(path.lastIndexOf('/') + 1);
  return new TextDecoder().decode(html).replace('<base href="./"', `<base href="${encodeURI(folder)}/"`);
}
