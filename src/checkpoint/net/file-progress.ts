import type { ProgressCallback } from './progress.ts';

/** Called with how much of a file is there, and its size. */
export type OnBytes = (loaded: number, total: number) => void;

/** Reports one file's way from `initiate` to `done`. A file that is all there at once is not said to be downloaded. */
export function fileProgress(name: string, file: string, onProgress: ProgressCallback | undefined): OnBytes {
  const event = { name, file };
  let reported: number | undefined;
  return (loaded, total) => {
    if (reported === undefined) {
      onProgress?.({ status: 'initiate', ...event });
      if (loaded < total) onProgress?.({ status: 'download', ...event });
      reported = loaded < total ? 0 : -1;
    }
    // Streams may start again, and a callback per network chunk would be some hundred thousand for a large model.
    if (loaded <= reported || (loaded < total && reported > 0 && loaded - reported < total / 1000)) return;
    reported = loaded;
    const progress = total === 0 ? 100 : (100 * loaded) / total;
    onProgress?.({ status: loaded === total ? 'done' : 'progress', ...event, loaded, total, progress });
  };
}
