import { existsSync, readdirSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ModelNotFoundError } from '../errors.ts';
import type { HubOptions } from './hub-options.ts';

/** The same distance from src/checkpoint and from dist/checkpoint. */
const MODELS_FOLDER = new URL('../../models/', import.meta.url);

/** Names of the models that come with the package, sorted. */
export function bundledModels(): string[] {
  if (!existsSync(MODELS_FOLDER)) return [];
  return readdirSync(MODELS_FOLDER)
    .filter((name) => existsSync(new URL(`${encodeURIComponent(name)}/config.json`, MODELS_FOLDER)))
    .sort();
}

/**
 * The local folder of a model: an existing folder, a bundled model by its name, or a hub repository as `org/name` or
 * `org/name@revision`, which is fetched when the cache lacks it. Rejects with ModelNotFoundError when it is none of
 * these, and with the errors of resolveHubModel.
 */
export async function resolveModel(source: string, options: HubOptions = {}): Promise<string> {
  options.signal?.throwIfAborted();
  if (existsSync(source) && statSync(source).isDirectory()) return resolve(source);
  const bundled = bundledModels();
  if (bundled.includes(source)) return fileURLToPath(new URL(encodeURIComponent(source), MODELS_FOLDER));
  const hub = /^(?<repoId>[\w-][\w.-]*\/[\w-][\w.-]*)(?:@(?<revision>.+))?$/.exec(source)?.groups;
  if (hub === undefined) {
    throw new ModelNotFoundError(
      `There is no model '${source}': no such folder, no bundled model of that name, and not of the form org/name.`,
      `Bundled models: ${bundled.join(', ') || 'none'}.`,
    );
  }
  // Loaded on need: local models work without the hub's code.
  const { resolveHubModel } = await import('./hub-cache.ts');
  const { repoId, revision = options.revision } = hub;
  return resolveHubModel(repoId, { ...options, revision });
}
