import { moduleFolder } from '../distributed/module-file.ts';
import { DownloadError, ModelNotFoundError } from '../errors.ts';
import { pathOfFileUrl } from '../util/file-url.ts';
import type { ModelFiles } from './files/model-files.ts';
import { chooseGguf, holdsGguf } from './gguf/choose-gguf.ts';
import { listHubFiles } from './hub/hub-listing.ts';
import { type HubName, parseHubName } from './hub/hub-name.ts';
import { assertRepoId, assertRevision, type HubOptions, resolveEndpoint } from './hub/hub-options.ts';
import { isGguf, isUrl, modelUrl } from './net/urls.ts';
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
 * Location of a model: a local folder or GGUF file, or a URL, which ends with '/' unless it is that of a GGUF file.
 * `source` is an existing folder or GGUF file, by its path or file URL, a bundled model by its name, an http(s) URL,
 * or a hub repository as `org/name` or `org/name@revision`. Of several models in GGUF in a folder or a repository `:`
 * and a quantisation name one, as in `org/name-GGUF:Q4_K_M`. In Node the hub's files are fetched into the cache where
 * that lacks them; a browser has no folders, reads the hub by its URL, and takes relative URLs that start with '/',
 * './' or '../'. Rejects with ModelNotFoundError when it is none of these, or when several models are meant, with a
 * list of them, and with the errors of resolveHubModel.
 *
 * @example
 * ```ts
 * const folder = await resolveModel('AntonV/mamba2-130m-hf', { localFilesOnly: true });
 * const file = await resolveModel('ibm-granite/granite-4.0-h-350m-GGUF:Q4_K_M');
 * ```
 */
export async function resolveModel(source: string, options: HubOptions = {}): Promise<string> {
  options.signal?.throwIfAborted();
  if (isUrl(source) && URL.canParse(source)) return modelUrl(source);
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
  const { repoId, ...which } = hubModelOf(source, options);
  const { openHubModel } = await import('./hub/hub-cache.ts');
  return openHubModel(repoId, { ...options, ...which });
}

/** {@link resolveModel} in Node. */
async function resolveHere(source: string, options: HubOptions): Promise<string> {
  const local = localModel(source);
  if (local !== undefined) return local;
  const { repoId, ...which } = hubModelOf(source, options);
  // Loaded on need: local models work without the hub's code.
  const { resolveHubModel } = await import('./hub/hub-cache.ts');
  return resolveHubModel(repoId, { ...options, ...which });
}

/** The folder or the GGUF file that a source names, or the folder of a bundled model. @throws ModelNotFoundError */
function localModel(name: string): string | undefined {
  const { existsSync, statSync } = process.getBuiltinModule('node:fs');
  const source = /^file:\/\/\//i.test(name) ? pathOfFileUrl(name, (reason) => noPath(name, reason)) : name;
  const { resolve } = process.getBuiltinModule('node:path');
  const kindOf = (path: string) => (existsSync(path) ? statSync(path) : undefined);
  if (isGguf(source) && kindOf(source)?.isFile()) return resolve(source);
  if (kindOf(source)?.isDirectory()) return folderModel(source, undefined);
  const [, folder, tag] = /^(.+):([^:/\\]+)$/.exec(source) ?? [];
  if (folder !== undefined && kindOf(folder)?.isDirectory()) return folderModel(folder, tag);
  const bundled = bundledModels().includes(source) ? bundledFolder(source) : undefined;
  return bundled && resolve(process.getBuiltinModule('node:url').fileURLToPath(bundled));
}

function noPath(url: string, reason: string): ModelNotFoundError {
  return new ModelNotFoundError(
    `'${url}' names no path: ${reason}.`,
    "Write 'file:///folder/model', or the path itself.",
  );
}

/** A folder, or the GGUF file in it that is the model. @throws ModelNotFoundError */
function folderModel(folder: string, tag: string | undefined): string {
  const { readdirSync } = process.getBuiltinModule('node:fs');
  const { join, resolve } = process.getBuiltinModule('node:path');
  const files = readdirSync(folder);
  const isGgufMeant = tag !== undefined || (holdsGguf(files) && !files.some((file) => file.endsWith('.safetensors')));
  return isGgufMeant ? join(resolve(folder), chooseGguf(files, tag, folder)) : resolve(folder);
}

/** @throws ModelNotFoundError */
function hubModelOf(source: string, options: HubOptions): HubName {
  const hub = hubModel(source, options);
  if (hub !== undefined) return hub;
  throw new ModelNotFoundError(
    `There is no model '${source}': no such folder or GGUF file, no bundled model of that name, not a URL, and not of the form org/name.`,
    `Bundled models: ${bundledModels().join(', ') || 'none'}.`,
  );
}

/** {@link resolveModel} in a browser. */
async function resolveUrl(source: string, options: HubOptions): Promise<string> {
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  if (/^\.{0,2}\//.test(source) && URL.canParse(source, base)) return modelUrl(new URL(source, base));
  const hub = hubModel(source, options);
  if (hub === undefined) {
    throw new ModelNotFoundError(
      `There is no model '${source}': not a URL, and not of the form org/name.`,
      "Give the URL of a GGUF file, or of a folder with config.json, tokenizer.json and weights; a relative one starts with './' or '/'.",
    );
  }
  const { repoId, revision = 'main', quantization } = hub;
  assertRepoId(repoId);
  assertRevision(revision);
  const folder = `${resolveEndpoint(options.endpoint)}/${repoId}/resolve/${encodeURIComponent(revision)}/`;
  // Without a bundler and a cache there is no cheap way to see what a repository holds, and most hold safetensors.
  const isGgufMeant = quantization !== undefined || /-GGUF$/i.test(repoId);
  if (!isGgufMeant) return folder;
  const known = options.localFilesOnly ? await storedLocation(source) : undefined;
  if (known !== undefined) return known;
  try {
    const files = (await listHubFiles(repoId, revision, options)) ?? [];
    const file = chooseGguf(files, quantization, repoId);
    return `${folder}${file.split('/').map(encodeURIComponent).join('/')}`;
  } catch (error) {
    // What is stored can be used without a network.
    const stored = error instanceof DownloadError ? await storedLocation(source) : undefined;
    if (stored !== undefined) return stored;
    throw error;
  }
}

/** Location of a model that the browser has stored under this name. */
async function storedLocation(source: string): Promise<string | undefined> {
  const { storedModels } = await import('./stored/stored-models.ts');
  return (await storedModels()).find(({ name }) => name === source)?.location;
}

function hubModel(source: string, options: HubOptions): HubName | undefined {
  const hub = parseHubName(source);
  // A path such as 'models/a.gguf' has the form of a repository, too: its user means a file.
  const isFile = hub !== undefined && hub.quantization === undefined && isGguf(hub.repoId);
  return hub && !isFile ? { ...hub, revision: hub.revision ?? options.revision } : undefined;
}

/** Undefined in a bundle, which comes without the bundled models. */
function bundledFolder(name: string): URL | undefined {
  const path = name === '' ? MODELS_FOLDER : `${MODELS_FOLDER}${encodeURIComponent(name)}/`;
  return moduleFolder(path, 'checkpoint/model-source', import.meta.url);
}
