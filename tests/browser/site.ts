import { readFile } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { fileURLToPath } from 'node:url';
import { ISOLATION, type Page, StaticServer, type StaticServerOptions } from '../static-server.ts';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

const PACKAGES = '/node_modules/@huggingface/';
const GRAMMARS = '/node_modules/@mlc-ai/web-xgrammar/';

interface SiteOptions extends StaticServerOptions {
  /** Whether the page may share memory with its workers. */
  readonly isolated: boolean;
  /** Where the page takes the library from; its own server when absent. */
  readonly libraryOrigin?: string;
  /** Further paths. */
  readonly extraPages?: ReadonlyMap<string, Page>;
}

/** A static host with the built package, the packages of its import map, the bundled model and a page. */
export async function startSite(options: SiteOptions): Promise<StaticServer> {
  const { isolated, libraryOrigin = '', extraPages, ...rest } = options;
  const imports = {
    mamba2: `${libraryOrigin}/dist/index.js`,
    '@huggingface/tokenizers': `${libraryOrigin}${PACKAGES}tokenizers/dist/tokenizers.mjs`,
    '@mlc-ai/web-xgrammar': `${libraryOrigin}${GRAMMARS}lib/index.js`,
  };
  const html = `<!doctype html><link rel="icon" href="data:,">
    <script type="importmap">${JSON.stringify({ imports })}</script>
    <script type="module" src="/page.js"></script>`;
  const page = await readFile(new URL('page.ts', import.meta.url), 'utf8');
  const pages = new Map<string, Page>([
    ['/', { content: html, contentType: 'text/html' }],
    ['/page.js', { content: stripTypeScriptTypes(page), contentType: 'text/javascript' }],
    // What page.ts imports, so that it is checked against the sources and runs on what is built.
    ['/src/index.ts', { content: "export * from 'mamba2';", contentType: 'text/javascript' }],
    ...(extraPages ?? []),
  ]);
  return StaticServer.start({
    folders: {
      '/dist/': `${ROOT}dist/`,
      [PACKAGES]: `${ROOT}${PACKAGES.slice(1)}`,
      [GRAMMARS]: `${ROOT}${GRAMMARS.slice(1)}`,
      '/models/': `${ROOT}models/`,
    },
    headers: isolated ? ISOLATION : { 'access-control-allow-origin': '*' },
    ...rest,
    pages,
  });
}
