/**
 * Event while a model is fetched and loaded, in transformers.js's form: for each file `initiate`, `download`, any
 * number of `progress`, `done`; `device` and `dtype` once they are chosen; `load` while weights are read; `compile` while a GPU's
 * kernels are compiled; `ready` at the end.
 */
export type ProgressEvent = {
  readonly status: 'initiate' | 'download' | 'progress' | 'done' | 'ready' | 'load' | 'compile' | 'device' | 'dtype';
  /** The model: a hub id, a folder or a URL. */
  readonly name: string;
  readonly file?: string;
  /**
   * Amount so far: bytes, including those of an earlier, interrupted try; weights for `load`; kernels for `compile`.
   */
  readonly loaded?: number;
  /** Amount in all, in the same unit. */
  readonly total?: number;
  /** 0 to 100. */
  readonly progress?: number;
  /** Device that the model will run on. */
  readonly device?: string;
  /** Dtype that the weights will have in memory, or the format of most of them. */
  readonly dtype?: string;
  /** Reason for the choice of the device or the dtype. */
  readonly reason?: string;
};

/** Called synchronously, so it must be quick and must not throw. */
export type ProgressCallback = (event: ProgressEvent) => void;

/**
 * Called with the bytes of a file that are there, and its size. A file may be complete and still have to be checked.
 */
export type OnBytes = (loaded: number, total: number, isDone?: boolean) => void;

/**
 * Reports a file from `initiate` to `done`. `download` is left out for a file of which all bytes are there at first.
 */
export function fileProgress(name: string, file: string, onProgress: ProgressCallback | undefined): OnBytes {
  const event = { name, file };
  let reported: number | undefined;
  let isOver = false;
  return (loaded, total, isDone = loaded === total) => {
    if (reported === undefined) {
      onProgress?.({ status: 'initiate', ...event });
      if (loaded < total) onProgress?.({ status: 'download', ...event });
      reported = loaded < total ? 0 : -1;
    }
    // Streams may start again, and a callback for each packet would be some hundred thousand for a large model.
    const isSmall = loaded < total && reported > 0 && loaded - reported < total / 1000;
    if (isOver || (!isDone && (loaded <= reported || isSmall))) return;
    reported = loaded;
    isOver = isDone;
    const progress = total === 0 ? 100 : (100 * loaded) / total;
    onProgress?.({ status: isDone ? 'done' : 'progress', ...event, loaded, total, progress });
  };
}
