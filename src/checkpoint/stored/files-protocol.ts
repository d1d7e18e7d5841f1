import type { SerializedError } from '../../distributed/serialized-error.ts';
import type { FileAnswer, FileQuestion } from '../files/remote-files.ts';
import type { ProgressEvent } from '../net/progress.ts';
import type { StoredFilesOptions } from './stored-files.ts';

/** Message to the worker that stores a model: it is opened once, asked any number of times, and closed. */
export type FilesRequest =
  | { readonly type: 'open'; readonly location: string; readonly options: PlainOptions }
  | { readonly type: 'question'; readonly id: number; readonly question: FileQuestion }
  | { readonly type: 'close' };

/** Options as they can be posted. */
export type PlainOptions = Omit<StoredFilesOptions, 'fetch' | 'onProgress'>;

/** Message from the worker. */
export type FilesMessage =
  /** Questions will be answered. */
  | { readonly type: 'opened' }
  /** Nothing can be stored here. */
  | { readonly type: 'unavailable' }
  | { readonly type: 'answer'; readonly id: number; readonly answer: FileAnswer }
  | { readonly type: 'failure'; readonly id: number; readonly error: SerializedError }
  | { readonly type: 'progress'; readonly event: ProgressEvent }
  | { readonly type: 'closed' };
