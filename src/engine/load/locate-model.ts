import { Checkpoint } from '../../checkpoint/checkpoint.ts';
import { resolveModel } from '../../checkpoint/model-source.ts';
import { openModelFiles } from '../../checkpoint/open-model-files.ts';
import type { LoadSettings } from './load-options.ts';

/** A model's files, found and open. */
export interface LocatedModel {
  /** The model as its user named it. */
  readonly name: string;
  /** The folder, or its URL. */
  readonly folder: string;
  /** Configs and weight headers. The caller of `locateModel` closes it. */
  readonly checkpoint: Checkpoint;
  readonly reopen: Reopen;
}

/** Opens the model's files again, for as long as `use` takes. */
export type Reopen = <T>(use: (again: Checkpoint) => Promise<T>) => Promise<T>;

/** Finds a model's files, fetching those of a hub model, and opens them. */
export async function locateModel(source: string, settings: LoadSettings): Promise<LocatedModel> {
  const folder = await resolveModel(source, settings);
  const { token, localFilesOnly, useBrowserStorage, workers, onProgress, signal } = settings;
  const access = { name: source, token, localFilesOnly, useBrowserStorage, workers };
  const files = await openModelFiles(folder, { ...access, onProgress, signal });
  const reopen: Reopen = async (use) => {
    const again = await Checkpoint.open(await openModelFiles(folder, access));
    try {
      return await use(again);
    } finally {
      await again.close();
    }
  };
  return { name: source, folder, checkpoint: await Checkpoint.open(files, { signal }), reopen };
}
