import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DownloadError, Mamba2Error, ModelNotFoundError, OfflineError } from '../../errors.ts';
import { CONFIG_FILE, SMALL_FILES, WEIGHTS_FILE, WEIGHTS_INDEX_FILE } from '../files/file-names.ts';
import { FolderFiles } from '../files/folder-files.ts';
import { type ModelFiles, readJsonFile } from '../files/model-files.ts';
import { UrlFiles } from '../files/url-files.ts';
import { chooseGguf, findGguf, holdsGguf, partsOf, wholeGgufs } from '../gguf/choose-gguf.ts';
import { fileProgress } from '../net/progress.ts';
import { describeFailure } from '../net/retry.ts';
import { isShardName, parseWeightMap } from '../safetensors/weight-map.ts';
import { HubClient, type HubFile } from './hub-client.ts';
import { downloadBlob } from './hub-download.ts';
import { HubLayout } from './hub-layout.ts';
import { assertRepoId, assertRevision, type HubOptions, isOffline } from './hub-options.ts';
import { resolveToken } from './hub-token.ts';

export type { HubOptions } from './hub-options.ts';

/** How a hub model is fetched, and which one of a repository. */
export interface HubModelOptions extends HubOptions {
  /** Quantisation of a model in GGUF, or the name of its file. */
  readonly quantization?: string | undefined;
}

/**
 * Finds a hub model in the local cache, fetches what is missing or has changed, and gives the snapshot folder, or the
 * GGUF file in it: where a quantisation is named, or the repository has no safetensors.
 *
 * Without a network a complete snapshot of the last fetch is used. Rejects with ModelNotFoundError (no such
 * repository or revision, or no weights in it), OfflineError (network needed but not there), DownloadError (the
 * hub refuses, or a file can't be fetched whole), or the signal's reason.
 */
export async function resolveHubModel(repoId: string, options: HubModelOptions = {}): Promise<string> {
  const found = await askHub(repoId, options);
  if (typeof found === 'string') return found;
  const { client, layout, revision, commit, listed } = found;
  const files = new Map(listed.map((file) => [file.path, file]));
  const fetchFile = (file: HubFile) => fetchToSnapshot(client, layout, commit, file, options);
  const gguf = ggufOf([...files.keys()], repoId, options.quantization);
  if (gguf !== undefined) {
    for (const part of partsOf(gguf)) await fetchFile(listedFile(files, part, repoId, 'the names of the other parts'));
    await layout.writeRef(revision, commit);
    return join(layout.snapshot(commit), gguf);
  }
  // Small files first: a program that finds weights in a snapshot may rely on the rest being there.
  for (const name of SMALL_FILES) {
    const file = files.get(name);
    if (file !== undefined) await fetchFile(file);
  }
  for (const file of await weightFiles(files, fetchFile, repoId)) await fetchFile(file);
  await layout.writeRef(revision, commit);
  return layout.snapshot(commit);
}

/**
 * The files of a hub model: those of its snapshot, where that is complete, else the hub's own, of which only what is
 * read is fetched and nothing is stored. Rejects as {@link resolveHubModel} does.
 */
export async function openHubModel(repoId: string, options: HubModelOptions = {}): Promise<ModelFiles> {
  const found = await askHub(repoId, options);
  if (typeof found === 'string') return new FolderFiles(found);
  const { client, layout, commit, listed } = found;
  const paths = listed.map(({ path }) => path);
  const gguf = ggufOf(paths, repoId, options.quantization);
  const snapshot = layout.snapshot(commit);
  if (gguf !== undefined) {
    const cached = await layout.ggufFiles(commit);
    if (partsOf(gguf).every((part) => cached.includes(part))) return new FolderFiles(join(snapshot, gguf));
  } else if ((await layout.missing(commit)).length === 0) return new FolderFiles(snapshot);
  return new UrlFiles(client.fileUrl(commit, gguf ?? ''), {
    token: await resolveToken(options.token),
    signal: options.signal,
    fetch: options.fetch,
    retryDelay: options.retryDelay,
    name: repoId,
    onProgress: options.onProgress,
    names: paths,
  });
}

interface HubRevision {
  readonly client: HubClient;
  readonly layout: HubLayout;
  readonly revision: string;
  readonly commit: string;
  readonly listed: readonly HubFile[];
}

/**
 * The GGUF file that is meant, the first one where it is split; undefined where the repository's safetensors are.
 * @throws ModelNotFoundError
 */
function ggufOf(paths: readonly string[], repoId: string, quantization: string | undefined): string | undefined {
  // A listing must not make the downloader write outside of its folder.
  const safe = paths.filter((path) => path.split('/').every((part) => /^(?!\.{1,2}$)[^\\:\0]+$/.test(part)));
  const isMeant = quantization !== undefined || (!safe.some(isShardName) && holdsGguf(safe));
  return isMeant ? chooseGguf(safe, quantization, repoId) : undefined;
}

function listedFile(files: ReadonlyMap<string, HubFile>, name: string, repoId: string, namedBy: string): HubFile {
  const file = files.get(name);
  if (file !== undefined) return file;
  throw new DownloadError(`'${repoId}' lacks '${name}', which ${namedBy} names.`, 'Try another revision.');
}

/** A revision as the hub lists it; without network access, the snapshot of the last fetch, or the GGUF file in it. */
async function askHub(repoId: string, options: HubModelOptions): Promise<HubRevision | string> {
  const revision = options.revision ?? 'main';
  assertRepoId(repoId);
  assertRevision(revision);
  options.signal?.throwIfAborted();
  const layout = new HubLayout(repoId, options.cacheDir);
  if (options.localFilesOnly || isOffline()) {
    const why = options.localFilesOnly ? 'localFilesOnly is set' : 'HF_HUB_OFFLINE is set';
    return cachedSnapshot(layout, { ...options, repoId, revision }, why);
  }
  const client = await HubClient.create(repoId, options);
  try {
    const commit = await client.commitOf(revision);
    return { client, layout, revision, commit, listed: await client.files(commit) };
  } catch (error) {
    options.signal?.throwIfAborted();
    // The hub's own refusals stand; anything else means that it can't be reached.
    if (error instanceof Mamba2Error) throw error;
    const why = `${client.endpoint} can't be reached (${describeFailure(error)})`;
    return cachedSnapshot(layout, { ...options, repoId, revision }, why, error);
  }
}

/** The weight files to fetch. Repositories often hold the same weights twice, as shards and consolidated. */
async function weightFiles(
  files: ReadonlyMap<string, HubFile>,
  fetchFile: (file: HubFile) => Promise<string>,
  repoId: string,
): Promise<HubFile[]> {
  const single = files.get(WEIGHTS_FILE);
  if (single !== undefined) return [single];
  const index = files.get(WEIGHTS_INDEX_FILE);
  if (index !== undefined) {
    const folder = new FolderFiles(dirname(await fetchFile(index)));
    const json = (await readJsonFile(folder, WEIGHTS_INDEX_FILE)) ?? {};
    const shards = [...new Set(parseWeightMap(json, `${repoId}/${WEIGHTS_INDEX_FILE}`).values())].sort();
    return shards.map((shard) => listedFile(files, shard, repoId, WEIGHTS_INDEX_FILE));
  }
  const others = [...files.values()].filter(({ path }) => isShardName(path));
  if (others.length === 1) return others;
  throw new ModelNotFoundError(
    `'${repoId}' has ${others.length} safetensors files and no ${WEIGHTS_INDEX_FILE}, expected ${WEIGHTS_FILE}.`,
    others.length === 0 ? 'Look for a conversion to safetensors, or convert the model in Python.' : '',
  );
}

async function fetchToSnapshot(
  client: HubClient,
  layout: HubLayout,
  commit: string,
  file: HubFile,
  { onProgress }: HubOptions,
): Promise<string> {
  const onBytes = fileProgress(client.repoId, file.path, onProgress);
  const total = file.size;
  const path = join(layout.snapshot(commit), file.path);
  // A snapshot never changes: its name is the commit.
  if ((await sizeOf(path)) !== total) {
    const blob = layout.blob(file.etag);
    if ((await sizeOf(blob)) !== total) {
      await layout.prepare();
      onBytes(0, total, false);
      // Whole is not done: the checksum comes last.
      await downloadBlob(client, client.fileUrl(commit, file.path), file, blob, (loaded) =>
        onBytes(loaded, total, false),
      );
    }
    await layout.link(commit, file.path, file.etag);
  }
  onBytes(total, total);
  return path;
}

async function sizeOf(path: string): Promise<number | undefined> {
  return (await stat(path).catch(() => undefined))?.size;
}

async function cachedSnapshot(
  layout: HubLayout,
  { repoId, revision, quantization }: HubModelOptions & { readonly repoId: string; readonly revision: string },
  why: string,
  cause?: unknown,
): Promise<string> {
  const commit = await layout.readRef(revision);
  const gguf = commit && (await cachedGguf(layout, commit, repoId, quantization));
  if (gguf !== undefined) return gguf;
  const without = quantization === undefined ? CONFIG_FILE : `${quantization} in GGUF`;
  const missing = commit === undefined || quantization !== undefined ? [without] : await layout.missing(commit);
  if (commit !== undefined && missing.length === 0) return layout.snapshot(commit);
  const what = missing.length > 1 ? `'${missing[0]}' and ${missing.length - 1} more files` : `'${missing[0]}'`;
  throw new OfflineError(
    `${why}, and the cache ${layout.folder} lacks ${what} of '${repoId}' (${revision}).`,
    `Run once with network access, or copy the result of 'hf download ${repoId}' into the cache.`,
    { cause },
  );
}

/** The GGUF file of a snapshot that is meant. @throws ModelNotFoundError where several could be */
async function cachedGguf(
  layout: HubLayout,
  commit: string,
  repoId: string,
  quantization: string | undefined,
): Promise<string | undefined> {
  const whole = wholeGgufs(await layout.ggufFiles(commit));
  const path = (file: string) => join(layout.snapshot(commit), file);
  if (quantization !== undefined) {
    const found = findGguf(whole, quantization);
    return found && path(found);
  }
  const isMeant = whole.length > 0 && !(await layout.hasSafetensors(commit));
  return isMeant ? path(chooseGguf(whole, undefined, repoId)) : undefined;
}
