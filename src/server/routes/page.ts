import type { Context } from 'hono';
import type { PageFile } from '../page-files.ts';

/** The page runs its own scripts and talks to its own server, and nothing else. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'self'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** `GET /` and what the page there is made of. */
export function pageFile({ content, contentType, etag }: PageFile) {
  return (c: Context): Response => {
    const headers = {
      etag,
      // Asked for anew each time, and sent only where it changed.
      'cache-control': 'no-cache',
      'content-security-policy': POLICY,
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
    };
    if (c.req.header('if-none-match') === etag) return c.body(null, 304, headers);
    const body = contentType.startsWith('text/html') ? withBase(content, c.req.path) : content;
    return c.body(body, 200, { ...headers, 'content-type': contentType });
  };
}

/** An app that is mounted at `/llm` has its page there and all else below `/llm/`, where relative URLs would not look. */
function withBase(html: Uint8Array<ArrayBuffer>, path: string): Uint8Array<ArrayBuffer> | string {
  if (path.endsWith('/')) return html;
  const folder = path.slice(path.lastIndexOf('/') + 1);
  return new TextDecoder().decode(html).replace('<base href="./"', `<base href="${encodeURI(folder)}/"`);
}
