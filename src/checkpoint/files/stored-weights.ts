import type { FileVersion } from '../net/file-version.ts';
import type { StoredTensor } from './stored-tensor.ts';

/** The tensors of a model's weight files. */
export interface StoredWeights {
  /** By name, file after file in the order of the data. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Versions of the files that are fetched for every read; files on disk have none. */
  readonly versions: readonly FileVersion[];
}
