import { randomUUID } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { getHFHubCachePath, getRepoFolderName } from '@huggingface/hub';
import { DownloadError } from '../../errors.ts';
import { CONFIG_FILE, WEIGHTS_FILE, WEIGHTS_INDEX_FILE } from '../files/file-names.ts';
import { FolderFiles } from '../files/folder-files.ts';
import { readJsonFile } from '../files/model-files.ts';
import { ggufParts } from '../gguf/choose-gguf.ts';
import { isGguf } from '../net/urls.ts';
import { parseWeightMap } from '../safetensors/weight-map.ts';

/**
 * One repository in the Hugging Face cache, which is shared with the Python library:
 * `models--ORG--NAME/{blobs/<etag>, snapshots/<commit>/<file> → ../../blobs/<etag>, refs/<revision>}`.
 * https://huggingface.co/docs/huggingface_hub/guides/manage-cache
 */
export class HubLayout {
  readonly folder: string;

  constructor(repoId: string, cacheDir = getHFHubCachePath()) {
    this.folder = join(cacheDir, getRepoFolderName({ type: 'model', name: repoId }));
  }

  /** The folder with the files of one commit. */
  snapshot(commit: string): string {
    return join(this.folder, 'snapshots', commit);
  }

  /** Throws DownloadError when the etag, which a server chose, is no plain file name. */
  blob(etag: string): string {
    if (!/^[A-Za-z0-9_-]{1,128}$/.test(etag)) {
      throw new DownloadError(`The hub gave the unusable etag '${etag}'.`, 'Check HF_ENDPOINT.');
    }
    return join(this.folder, 'blobs', etag);
  }

  /** Makes the folder for blobs. Throws DownloadError when the cache can't be written. */
  async prepare(): Promise<void> {
    try {
      await mkdir(join(this.folder, 'blobs'), { recursive: true });
    } catch (cause) {
      throw new DownloadError(
        `The cache can't be written: ${(cause as Error).message}.`,
        'Set HF_HOME, or the cacheDir option, to a folder that can.',
        { cause },
      );
    }
  }

  /** The commit that a revision stood for when it was fetched last; a commit id stands for itself. */
  async readRef(revision: string): Promise<string | undefined> {
    const ref = await readFile(join(this.folder, 'refs', revision), 'utf8').catch(() => undefined);
    const commit = ref?.trim() ?? revision;
    return /^[0-9a-f]{40,64}$/.test(commit) ? commit : undefined;
  }

  /** Stores the commit of a revision, for use without a network. */
  async writeRef(revision: string, commit: string): Promise<void> {
    // A cache that holds everything may be read-only.
    if ((await this.readRef(revision)) === commit) return;
    const path = join(this.folder, 'refs', revision);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, commit);
  }

  /** Makes `snapshots/<commit>/<file>` show the blob: by a link, or a copy where links are not allowed. */
  async link(commit: string, file: string, etag: string): Promise<void> {
    const path = join(this.snapshot(commit), file);
    const blob = this.blob(etag);
    await mkdir(dirname(path), { recursive: true });
    // Made under another name first: another process must never find the file absent or half copied.
    const temporary = `${path}.${randomUUID()}.tmp`;
    try {
      await symlink(relative(dirname(path), blob), temporary);
    } catch {
      // Windows without developer mode.
      await copyFile(blob, temporary);
    }
    await rename(temporary, path);
  }

  /** Files that a snapshot still needs to be loadable; empty when it is complete. */
  async missing(commit: string): Promise<string[]> {
    const folder = this.snapshot(commit);
    const present: string[] = [];
    for (const file of await readdir(folder).catch(() => [])) {
      // A link whose blob is gone counts as missing.
      if (await isFile(join(folder, file))) present.push(file);
    }
    const lacking = present.includes(CONFIG_FILE) ? [] : [CONFIG_FILE];
    if (present.includes(WEIGHTS_FILE)) return lacking;
    const index = await readJsonFile(new FolderFiles(folder), WEIGHTS_INDEX_FILE);
    if (index !== undefined) {
      const shards = new Set(parseWeightMap(index, join(folder, WEIGHTS_INDEX_FILE)).values());
      return [...lacking, ...[...shards].filter((shard) => !present.includes(shard))];
    }
    if (present.some((file) => file.endsWith('.safetensors'))) return lacking;
    const ggufs = await this.ggufFiles(commit);
    const lackingParts = ggufParts(ggufs).map((parts) => parts.filter((part) => !ggufs.includes(part)));
    // One whole model in GGUF needs no other file.
    return lackingParts.toSorted((a, b) => a.length - b.length).at(0) ?? [...lacking, WEIGHTS_FILE];
  }

  /** Whether a snapshot holds safetensors. */
  async hasSafetensors(commit: string): Promise<boolean> {
    const files = await readdir(this.snapshot(commit)).catch(() => []);
    return files.some((file) => file.endsWith('.safetensors'));
  }

  /** GGUF files of a snapshot, with their sub-folders. */
  async ggufFiles(commit: string): Promise<string[]> {
    const folder = this.snapshot(commit);
    const files = await readdir(folder, { recursive: true }).catch(() => []);
    const found: string[] = [];
    for (const file of files) if (isGguf(file) && (await isFile(join(folder, file)))) found.push(file);
    return found.map((file) => file.replaceAll('\\', '/'));
  }
}

/** Whether this is a file, or a link to one. */
async function isFile(path: string): Promise<boolean> {
  const stats = await stat(path).catch(() => undefined);
  return stats?.isFile() ?? false;
}
