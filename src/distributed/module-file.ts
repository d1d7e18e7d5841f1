/** CommonJS, into which bundlers may turn this package, has no `import.meta.url`, but this. */
declare const __filename: string | undefined;

/**
 * A file of the package, by its path without its extension, from the module that asks. A source tree has .ts, the package
 * .js; a bundle has what it is itself, and is itself the module that asks. Node and its like only.
 * @param moduleUrl the module's `import.meta.url`.
 */
export function moduleFile(path: string, moduleUrl: string | undefined): URL {
  const here = moduleUrl ?? ownFile();
  const extension = /\.[cm]?[jt]s$/.exec(here)?.[0] ?? '.js';
  return new URL(`${path}${extension}`, here);
}

/**
 * A folder of the package, by its path from the module that asks; undefined where that was bundled: what lies there is
 * another's.
 * @param module the asking module's own path in the package, without its extension, such as 'server/page-files'.
 */
export function moduleFolder(path: string, module: string, moduleUrl: string | undefined): URL | undefined {
  const isBundled = !moduleUrl?.replace(/\.[jt]s$/, '').endsWith(`/${module}`);
  return isBundled ? undefined : new URL(path, moduleUrl);
}

function ownFile(): string {
  if (typeof __filename !== 'string') throw new Error('Neither import.meta.url nor __filename says where this is.');
  return process.getBuiltinModule('node:url').pathToFileURL(__filename).href;
}
