import type { JoinState, NcclPlace } from '../../backends/cuda/nccl/nccl-place.ts';
import type { FileAnswer, FileQuestion } from '../../checkpoint/files/remote-files.ts';
import type { ProgressEvent } from '../../checkpoint/net/progress.ts';
import type { MpiPlaces } from '../../distributed/mpi/mpi-group.ts';
import type { SerializedError } from '../../distributed/serialized-error.ts';
import type { GroupMemory } from '../../distributed/shared-memory-group.ts';
import type { Batch, GuessBatch, StateFootprint, StatePlace, StepOutput } from '../run/executor.ts';
import type { StatePart } from '../run/state-part.ts';
import type { RankOptions } from './load-rank.ts';

/** A checkpoint, as ranks are told of it: a folder to read, or the location of files that one thread reads for all ranks. */
export type CheckpointSource = { readonly folder: string } | { readonly files: string };

/** Start of a rank. */
export interface RankStart<Source> {
  /** Source of the rank's weights: plain data that the script of its thread understands. */
  readonly source: Source;
  readonly rank: number;
  /** Shared by all ranks of this process; absent where there is one rank in all, or each has a GPU. */
  readonly memory: GroupMemory | undefined;
  /** Processes that have the ranks; absent where this one has all. */
  readonly places?: MpiPlaces | undefined;
  /** The rank's place among those that have a GPU each; absent where they exchange by memory. */
  readonly nccl?: NcclPlace | undefined;
  readonly options: RankOptions;
}

/** Message to a rank. */
export type RankRequest<Source = unknown> =
  /** Logits that come back, for their memory. Not answered. */
  | { readonly type: 'recycle'; readonly logits: Float32Array<ArrayBuffer> }
  | { readonly type: 'start'; readonly start: RankStart<Source> }
  | { readonly type: 'answer'; readonly id: number; readonly answer: FileAnswer }
  /** Asks for a sign of life. */
  | { readonly type: 'ping' }
  | StepRequest;

/** A step, or a state to give or take. */
export type StepQuestion =
  | { readonly type: 'execute'; readonly batch: Batch }
  | { readonly type: 'guess'; readonly batch: GuessBatch }
  | { readonly type: 'exportState'; readonly place: StatePlace }
  | { readonly type: 'importState'; readonly place: StatePlace; readonly state: Float32Array };

/** Every rank answers each with a result under the same id. */
export type StepRequest = StepQuestion & { readonly id: number };

/** A rank's answer to a step. */
export interface RankResult {
  /** The step's output, sent by rank 0 only, because all ranks have the same. */
  readonly step?: StepOutput;
  /** Guessed tokens, sent by rank 0 only. */
  readonly guesses?: Int32Array<ArrayBuffer>;
  /** Set instead of the other fields: memory was missing, and the rank continues without its states. */
  readonly outOfMemory?: SerializedError;
  /** This rank's parts of an exported state. */
  readonly stateParts?: readonly StatePart[];
}

/** Message from a rank to the executor. Only rank 0 reports loading. */
export type RankMessage =
  | { readonly type: 'question'; readonly id: number; readonly question: FileQuestion }
  | { readonly type: 'progress'; readonly event: ProgressEvent }
  | { readonly type: 'joins'; readonly state: JoinState }
  | { readonly type: 'pong' }
  | {
      readonly type: 'ready';
      readonly stateFootprint: StateFootprint;
      readonly samplesTokens: boolean;
      readonly maxBatchedTokens: number;
      readonly promptAlignment: number | undefined;
    }
  | { readonly type: 'result'; readonly id: number; readonly result: RankResult }
  | { readonly type: 'error'; readonly error: SerializedError };
