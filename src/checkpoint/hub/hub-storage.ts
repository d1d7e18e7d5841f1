import { lstat, readdir, readlink, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { getHFHubCachePath } from '@huggingface/hub';
import { ModelNotFoundError } from '../../errors.ts';
import { WEIGHTS_INDEX_FILE } from '../files/file-names.ts';
import { findGguf, ggufParts, partsOf, quantizationsIn } from '../gguf/choose-gguf.ts';
import { HubLayout } from './hub-layout.ts';
import { assertRepoId, assertRevision } from './hub-options.ts';

/** A hub model in the cache, whichever program has put it there. */
export interface StoredHubModel {
  /** `org/name` */
  readonly id: string;
  readonly folder: string;
  /** Bytes of all files on disk, those of interrupted downloads included. */
  readonly bytes: number;
  /** Bytes of interrupted downloads. */
  readonly incompleteBytes: number;
  /** Time at which the last file was written. */
  readonly modified: Date;
  readonly revisions: readonly StoredRevision[];
}

/** A commit with stored files. */
export interface StoredRevision {
  readonly commit: string;
  /** Branches and tags that stood for it when it was fetched. */
  readonly refs: readonly string[];
  /** Files that it lacks to be loaded. */
  readonly missing: readonly string[];
  /** Quantisations of its models in GGUF. */
  readonly quantizations: readonly string[];
}

/** A part of a model in the cache. */
export interface RemovedPart {
  /** Branch, tag or commit. */
  readonly revision?: string | undefined;
  /** Quantisation of a model in GGUF, or the name of its file. */
  readonly quantization?: string | undefined;
}

/** Folder of the hub cache: HF_HUB_CACHE, HF_HOME and XDG_CACHE_HOME decide, as in Python. */
export function hubCacheFolder(): string {
  return getHFHubCachePath();
}

/** The models of the cache by name; none where there is no cache. */
export async function storedHubModels(cacheDir = hubCacheFolder()): Promise<StoredHubModel[]> {
  const entries = await readdir(cacheDir, { withFileTypes: true }).catch(() => []);
  const ids = entries.flatMap((entry) => {
    const [, org, name] = entry.isDirectory() ? (/^models--([^-].*?)--(.+)$/.exec(entry.name) ?? []) : [];
    return org === undefined ? [] : [`${org}/${name}`];
  });
  return Promise.all(ids.sort().map((id) => describe(id, new HubLayout(id, cacheDir))));
}

/**
 * Removes a model from the cache, or one revision of it, or one of its models in GGUF: the snapshot or its files, and the
 * blobs that no other snapshot shows. Nothing outside the model's own folder is touched, and no link is followed. → the
 * bytes that are free now. Rejects with ModelNotFoundError where the cache has no such model, revision or quantisation,
 * with ArgumentError where the revision is no name.
 */
export async function removeHubModel(
  id: string,
  { revision, quantization }: RemovedPart = {},
  cacheDir = hubCacheFolder(),
): Promise<number> {
  assertRepoId(id);
  const layout = new HubLayout(id, cacheDir);
  const isThere = (await lstat(layout.folder).catch(() => undefined))?.isDirectory() ?? false;
  if (!isThere) {
    throw new ModelNotFoundError(`'${id}' is not in the cache ${cacheDir}.`, "'mamba2 list' shows what is there.");
  }
  const before = await describe(id, layout);
  const found = revision === undefined ? before.revisions : [await revisionOf(revision, before, layout)];
  const isOther = quantization !== undefined && (await removeGguf(quantization, found, id, layout));
  if (isOther || found.length < before.revisions.length) {
    if (!isOther) for (const { commit, refs } of found) await removeRevision(layout, commit, refs);
    return before.bytes - (await describe(id, layout)).bytes;
  }
  await rm(layout.folder, { recursive: true, force: true });
  // Left by the Python library.
  await rm(join(cacheDir, '.locks', basename(layout.folder)), { recursive: true, force: true });
  return before.bytes;
}

/** @throws ModelNotFoundError, ArgumentError */
async function revisionOf(revision: string, { id, revisions }: StoredHubModel, layout: HubLayout) {
  assertRevision(revision);
  const commit = await layout.readRef(revision);
  const found = revisions.find((each) => each.commit === commit);
  if (found !== undefined) return found;
  const known = revisions.flatMap((each) => [...each.refs, each.commit]);
  throw new ModelNotFoundError(
    `The cache has no revision '${revision}' of '${id}'.`,
    `It has ${known.join(', ') || 'none'}.`,
  );
}

/**
 * Removes the files of a model in GGUF from snapshots. → whether these hold other models; if not, nothing was removed.
 * @throws ModelNotFoundError
 */
async function removeGguf(
  quantization: string,
  revisions: readonly StoredRevision[],
  id: string,
  layout: HubLayout,
): Promise<boolean> {
  const paths: string[] = [];
  let isOther = false;
  for (const { commit } of revisions) {
    const files = await layout.ggufFiles(commit);
    const found = findGguf(files, quantization);
    if (found !== undefined) paths.push(...partsOf(found).map((part) => join(layout.snapshot(commit), part)));
    isOther ||= ggufParts(files).some(([first]) => first !== found) || (await layout.hasSafetensors(commit));
  }
  if (paths.length === 0) {
    const known = [...new Set(revisions.flatMap((each) => each.quantizations))];
    throw new ModelNotFoundError(
      `The cache has no model in GGUF of the quantization '${quantization}' of '${id}'.`,
      `It has ${known.join(', ') || 'none'}.`,
    );
  }
  if (!isOther) return false;
  for (const path of paths) await rm(path, { force: true });
  await removeUnshown(layout);
  return true;
}

async function removeRevision(layout: HubLayout, commit: string, refs: readonly string[]): Promise<void> {
  // References first: an interruption may leave files without a name, but no name without files.
  for (const ref of refs) await rm(join(layout.folder, 'refs', ref), { force: true });
  await rm(layout.snapshot(commit), { recursive: true, force: true });
  await removeUnshown(layout);
}

/** Removes the blobs that no snapshot shows. */
async function removeUnshown(layout: HubLayout): Promise<void> {
  const shown = new Set<string>();
  for (const path of await filesBelow(join(layout.folder, 'snapshots'))) {
    const target = await readlink(path).catch(() => undefined);
    if (target !== undefined) shown.add(basename(target));
  }
  for (const path of await filesBelow(join(layout.folder, 'blobs'))) {
    if (!shown.has(basename(path)) && !path.endsWith('.incomplete')) await rm(path, { force: true });
  }
}

async function describe(id: string, layout: HubLayout): Promise<StoredHubModel> {
  const { folder } = layout;
  const refsFolder = join(folder, 'refs');
  const refs = await Promise.all(
    (await filesBelow(refsFolder)).map(async (path) => {
      const ref = path.slice(refsFolder.length + 1).replaceAll('\\', '/');
      return { ref, commit: await layout.readRef(ref) };
    }),
  );
  const commits = (await readdir(join(folder, 'snapshots'), { withFileTypes: true }).catch(() => [])).filter((entry) =>
    entry.isDirectory(),
  );
  const revisions = await Promise.all(
    commits.map(async ({ name: commit }) => ({
      commit,
      refs: refs.filter((each) => each.commit === commit).map(({ ref }) => ref),
      // An index that can't be read is for loading to complain about.
      missing: await layout.missing(commit).catch(() => [WEIGHTS_INDEX_FILE]),
      quantizations: quantizationsIn(await layout.ggufFiles(commit)),
    })),
  );
  let [bytes, incompleteBytes, modified] = [0, 0, 0];
  // Snapshots hold links to blobs; copies where links are not allowed.
  for (const path of [...(await filesBelow(join(folder, 'blobs'))), ...(await filesBelow(join(folder, 'snapshots')))]) {
    const found = await lstat(path).catch(() => undefined);
    if (found === undefined || found.isSymbolicLink()) continue;
    bytes += found.size;
    if (path.endsWith('.incomplete')) incompleteBytes += found.size;
    modified = Math.max(modified, found.mtimeMs);
  }
  if (modified === 0) modified = (await stat(folder)).mtimeMs;
  return { id, folder, bytes, incompleteBytes, modified: new Date(modified), revisions };
}

/** Paths of all files and links below a folder; none where there is no folder. Links to folders are not followed. */
async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
}
