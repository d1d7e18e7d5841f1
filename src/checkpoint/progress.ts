/**
 * What happens while a model is fetched and loaded, in the form that users of transformers.js know:
 * per file `initiate`, `download`, any number of `progress`, `done`; `device` once it is chosen; `load` while weights are
 * read; `ready` at the end.
 */
export type ProgressEvent = {
  readonly status: 'initiate' | 'download' | 'progress' | 'done' | 'ready' | 'load' | 'device';
  /** The model: a hub id, a folder or a URL. */
  readonly name: string;
  readonly file?: string;
  /** Bytes so far, those of an earlier, interrupted try included. */
  readonly loaded?: number;
  /** Bytes in total. */
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
