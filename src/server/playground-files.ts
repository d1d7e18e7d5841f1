import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { extname, sep } from 'node:path';
import { pathToFileURL } from 'node:url';

/** The built package. A source tree has it beside itself. */
const BUILD = new URL(import.meta.url.endsWith('.ts') ? '../../dist/' : '../', import.meta.url);
const MODEL = new URL('../../models/tiny-dts/', import.meta.url);

const SERVED = ['.js', '.css', '.svg'];
/** What no page loads. */
const OTHERS = /^(cli|server)\//;

/**
 * The files of the playground by their paths below its own: the page ('' is its HTML), the library, the packages of its
 * import map, and the bundled model. Pages at any static host need just these. None in a source tree that was not built.
 */
export function playgroundFiles(): ReadonlyMap<string, URL> {
  const page = new URL('playground/index.html', BUILD);
  if (!existsSync(page)) return new Map();
  const files = new Map([['', page]]);
  for (const path of readdirSync(BUILD, { recursive: true, encoding: 'utf8' }).map((name) =>
    name.replaceAll(sep, '/'),
  )) {
    if (SERVED.includes(extname(path)) && !OTHERS.test(path)) files.set(`lib/${path}`, new URL(path, BUILD));
  }
  const { resolve } = createRequire(import.meta.url);
  // Beside what Node's own `require` would take.
  const packageFile = (name: string, file: string) => new URL(file, pathToFileURL(resolve(name)));
  files.set('vendor/tokenizers.js', packageFile('@huggingface/tokenizers', 'tokenizers.mjs'));
  for (const name of readdirSync(MODEL)) {
    if (/\.(json|safetensors|jinja)$/.test(name)) files.set(`models/tiny-dts/${name}`, new URL(name, MODEL));
  }
  return files;
}
