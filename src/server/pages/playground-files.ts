import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { extname, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { moduleFolder } from '../../distributed/module-file.ts';

const OWN_PATH = 'server/pages/playground-files';

const SERVED = ['.js', '.css', '.svg'];
/** Folders of the package that no page loads from. */
const OTHERS = /^(cli|server)\//;

/**
 * The files of the playground by their paths below its own: the page ('' is its HTML), the library, the packages of its
 * import map, and the bundled model. Pages at any static host need just these. None in a source tree that was not
 * built, and none in a bundle, which comes without such files.
 */
export function playgroundFiles(): ReadonlyMap<string, URL> {
  // The built package, which in a source tree is in `dist`.
  const build = moduleFolder(import.meta.url?.endsWith('.ts') ? '../../../dist/' : '../../', OWN_PATH, import.meta.url);
  const models = moduleFolder('../../../models/tiny-dts/', OWN_PATH, import.meta.url);
  const page = build && new URL('playground/index.html', build);
  if (!models || !page || !existsSync(page)) return new Map();
  const files = new Map([['', page]]);
  for (const path of readdirSync(build, { recursive: true, encoding: 'utf8' }).map((name) =>
    name.replaceAll(sep, '/'),
  )) {
    if (SERVED.includes(extname(path)) && !OTHERS.test(path)) files.set(`lib/${path}`, new URL(path, build));
  }
  const { resolve } = createRequire(import.meta.url);
  // Next to the file that Node's own `require` would take.
  const packageFile = (name: string, file: string) => new URL(file, pathToFileURL(resolve(name)));
  files.set('vendor/tokenizers.js', packageFile('@huggingface/tokenizers', 'tokenizers.mjs'));
  try {
    files.set('vendor/web-xgrammar.js', packageFile('@mlc-ai/web-xgrammar', 'index.js'));
  } catch {
    // It is optional: without it the page refuses structured outputs, and says what is missing.
  }
  for (const name of readdirSync(models)) {
    if (/\.(json|safetensors|jinja)$/.test(name)) files.set(`models/tiny-dts/${name}`, new URL(name, models));
  }
  return files;
}
