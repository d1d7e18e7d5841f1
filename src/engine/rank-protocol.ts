import type { ModelFiles } from '../checkpoint/files/model-files.ts';
import type { FileAnswer, FileQuestion } from '../checkpoint/files/remote-files.ts';
import type { ProgressEvent } from '../checkpoint/net/progress.ts';
import type { SerializedError } from '../distributed/serialized-error.ts';
import type { GroupMemory } from '../distributed/shared-memory-group.ts';
import type { Batch, StateFootprint, StatePlace, StepOutput } from './executor.ts';
import type { RankOptions } from './load-rank.ts';
import type { StatePart } from './state-part.ts';
import type { SyntheticSource } from './synthetic-model.ts';

/** Where ranks get their weights: a checkpoint's folder, files that one thread reads for all, or a model to make up. */
export type WeightSource = string | ModelFiles | SyntheticSource;

/** What a rank is started with. */
export interface RankStart {
  /** A folder to read, the location of files to ask for, or a model to make up. */
  readonly source: { readonly folder: string } | { readonly files: string } | { readonly synthetic: SyntheticSource };
  readonly rank: number;
  /** Shared by all ranks; absent where there is one. */
  readonly memory: GroupMemory | undefined;
  readonly options: RankOptions;
}

/** To a rank. */
export type RankRequest =
  /** Logits that come back, for their memory. Not answered. */
  | { readonly type: 'recycle'; readonly logits: Float32Array<ArrayBuffer> }
  | { readonly type: 'start'; readonly start: RankStart }
  | { readonly type: 'answer'; readonly id: number; readonly answer: FileAnswer }
  | StepRequest;

/** A step, or a state to give or take. */
export type StepQuestion =
  | { readonly type: 'execute'; readonly batch: Batch }
  | { readonly type: 'exportState'; readonly place: StatePlace }
  | { readonly type: 'importState'; readonly place: StatePlace; readonly state: Float32Array };

/** Every rank answers each with a result under the same id. */
export type StepRequest = StepQuestion & { readonly id: number };

/** What a rank returns. */
export interface RankResult {
  /** Of rank 0 only, because all ranks have the same. */
  readonly step?: StepOutput;
  /** In place of all else: there was no memory, and the rank goes on without its states. */
  readonly outOfMemory?: SerializedError;
  /** Of an exported state, this rank's. */
  readonly stateParts?: readonly StatePart[];
}

/** From a rank. Only rank 0 reports loading. */
export type RankMessage =
  | { readonly type: 'question'; readonly id: number; readonly question: FileQuestion }
  | { readonly type: 'progress'; readonly event: ProgressEvent }
  | {
      readonly type: 'ready';
      readonly stateFootprint: StateFootprint;
      readonly samplesTokens: boolean;
      readonly maxBatchedTokens: number;
    }
  | { readonly type: 'result'; readonly id: number; readonly result: RankResult }
  | { readonly type: 'error'; readonly error: SerializedError };
