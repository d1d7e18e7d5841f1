import { moduleFolder } from '../distributed/module-file.ts';
import { ModelNotFoundError } from '../errors.ts';
import type { ModelFiles } from './files/model-files.ts';
import { assertRepoId, assertRevision, type HubOptions, resolveEndpoint } from './hub/hub-options.ts';
import { folderUrl, isUrl } from './net/urls.ts';
import { hasFileSystem, openModelFiles } from './open-model-files.ts';

/** Relative to src/checkpoint and to dist/checkpoint alike. */
const MODELS_FOLDER = '../../models/';

/**
 * Names of the models that come with the package, sorted; none in a browser.
 *
 * @example
 * ```ts
 * const [name] = bundledModels(); // 'tiny-dts'
 * ```
 */
export function bundledModels(): string[] {
  if (!hasFileSystem()) return [];
  const { existsSync, readdirSync } = process.getBuiltinModule('node:fs');
  const folder = bundledFolder('');
  if (!folder || !existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => existsSync(new URL(`${encodeURIComponent(name)}/config.json`, folder)))
    .sort();
}

/**
 * Location of a model: a local folder, or a URL that ends with '/'. `source` is an existing folder, a bundled model by
 * its name, an http(s) URL, or a hub repository as `org/name` or `org/name@revision`. In Node the hub's files are
 * fetched into the cache where that lacks them; a browser has no folders, reads the hub by its URL, and takes relative
 * URLs that start with '/', './' or '../'. Rejects with ModelNotFoundError when it is none of these, and with the
 * errors of resolveHubModel.
 *
 * @example
 * ```ts
 * const folder = await resolveModel('AntonV/mamba2-130m-hf', { localFilesOnly: true });
 * ```
 */
export async function resolveModel(source: string, options: HubOptions = {}): Promise<string> {
  options.signal?.throwIfAborted();
  if (isUrl(source) && URL.canParse(source)) return folderUrl(source);
  return hasFileSystem() ? resolveHere(source, options) : resolveUrl(source, options);
}

/**
 * A model's files, to look at rather than to load: of a hub model that is not in the cache nothing is stored, and what
 * is read of it is fetched by ranges. Sources and errors are those of {@link resolveModel}.
 */
export async function openModelSource(source: string, options: HubOptions = {}): Promise<ModelFiles> {
  if (!hasFileSystem() || isUrl(source) || localModel(source) !== undefined) {
    return openModelFiles(await resolveModel(source, options), { name: source, ...options });
  }
  const hub = hubModelOf(source, options);
  const { openHubModel } = await import('./hub/hub-cache.ts');
  return openHubModel(hub.repoId, { ...options, revision: hub.revision });
}

/** {@link resolveModel} in Node. */
async function resolveHere(source: string, options: HubOptions): Promise<string> {
  const folder = localModel(source);
  if (folder !== undefined) return folder;
  const hub = hubModelOf(source, options);
  // Loaded on need: local models work without the hub's code.
  const { resolveHubModel } = await import('./hub/hub-cache.ts');
  return resolveHubModel(hub.repoId, { ...options, revision: hub.revision });
}

/** The folder that a source names, or that of a bundled model. */
function localModel(source: string): string | undefined {
  const { existsSync, statSync } = process.getBuiltinModule('node:fs');
  const { resolve } = process.getBuiltinModule('node:path');
  if (existsSync(source) && statSync(source).isDirectory()) return resolve(source);
  const folder = bundledModels().includes(source) ? bundledFolder(source) : undefined;
  return folder && resolve(process.getBuiltinModule('node:url').fileURLToPath(folder));
}

/** @throws ModelNotFoundError */
function hubModelOf(source: string, options: HubOptions): NonNullable<ReturnType<typeof hubModel>> {
  const hub = hubModel(source, options);
  if (hub !== undefined) return hub;
  throw new ModelNotFoundError(
    `There is no model '${source}': no such folder, no bundled model of that name, not a URL, and not of the form org/name.`,
    `Bundled models: ${bundledModels().join(', ') || 'none'}.`,
  );
}

/** {@link resolveModel} in a browser. */
function resolveUrl(source: string, options: HubOptions): string {
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  if (/^\.{0,2}\//.test(source) && URL.canParse(source, base)) return folderUrl(new URL(source, base));
  const hub = hubModel(source, options);
  if (hub === undefined) {
    throw new ModelNotFoundError(
      `There is no model '${source}': not a URL, and not of the form org/name.`,
      "Give the URL of a folder with config.json, tokenizer.json and weights; a relative one starts with './' or '/'.",
    );
  }
  const { repoId, revision = 'main' } = hub;
  assertRepoId(repoId);
  assertRevision(revision);
  return `${resolveEndpoint(options.endpoint)}/${repoId}/resolve/${encodeURIComponent(revision)}/`;
}

function hubModel(source: string, options: HubOptions): { repoId: string; revision: string | undefined } | undefined {
  const parts = /^(?<repoId>[\w-][\w.-]*\/[\w-][\w.-]*)(?:@(?<revision>.+))?$/.exec(source)?.groups;
  return parts && { repoId: parts.repoId, revision: parts.revision ?? options.revision };
}

/** Undefined in a bundle, which comes without the bundled models. */
function bundledFolder(name: string): URL | undefined {
  const path = name === '' ? MODELS_FOLDER : `${MODELS_FOLDER}${encodeURIComponent(name)}/`;
  return moduleFolder(path, 'checkpoint/model-source', import.meta.url);
}
