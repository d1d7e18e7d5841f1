import type { StoredTensor } from '../files/stored-tensor.ts';
import type { FileVersion } from '../net/file-version.ts';
import type { GgufMetadata } from './gguf-metadata.ts';

/** A model in GGUF: what its header says, and its tensors under the names that llama.cpp gives them. */
export interface Gguf {
  /** Path or URL of the file, of the first one where the model is split, for messages. */
  readonly name: string;
  readonly metadata: GgufMetadata;
  /** In the order of the data. Shapes are row-major: the reverse of what the file lists. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Versions of the files that are fetched for every read; files on disk have none. */
  readonly versions: readonly FileVersion[];
}
