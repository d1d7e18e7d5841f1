/**
 * What happens while a model is fetched and loaded, in the form that users of transformers.js know:
 * per file `initiate`, `download`, any number of `progress`, `done`; `device` once it is chosen; `load` while weights are
 * read; `compile` while a GPU's kernels are compiled; `ready` at the end.
 */
export type ProgressEvent = {
  readonly status: 'initiate' | 'download' | 'progress' | 'done' | 'ready' | 'load' | 'compile' | 'device';
  /** The model: a hub id, a folder or a URL. */
  readonly name: string;
  readonly file?: string;
  /** So far: bytes, those of an earlier, interrupted try included; of `load` weights; of `compile` kernels. */
  readonly loaded?: number;
  /** Of how many. */
  readonly total?: number;
  /** 0 to 100. */
  readonly progress?: number;
  /** Where the model will run. */
  readonly device?: string;
  /** Why there. */
  readonly reason?: string;
};

/** Called synchronously, so it must be quick and must not throw. */
export type ProgressCallback = (event: ProgressEvent) => void;
