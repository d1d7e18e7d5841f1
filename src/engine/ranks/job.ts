import type { Link } from '../../distributed/link.ts';
import type { SerializedError } from '../../distributed/serialized-error.ts';
import { ShardingError } from '../../errors.ts';
import type { ProcessStart, RankEnd, StagePlace } from './process-ranks.ts';
import type { RankMessage, RankRequest, StepRequest } from './rank-protocol.ts';

/** From the process that has the engine to one that follows it. */
export type Order =
  /** Starts ranks, once those before have been terminated. */
  | { readonly type: 'start'; readonly start: ProcessStart; readonly model: unknown }
  | { readonly type: 'post'; readonly rank: number; readonly request: RankRequest }
  | { readonly type: 'ask'; readonly request: StepRequest }
  | { readonly type: 'fail' }
  | { readonly type: 'reset' }
  | { readonly type: 'terminate' }
  /** The job is over. */
  | { readonly type: 'finish' };

/** From a process that follows. */
export type Report =
  | { readonly type: 'message'; readonly rank: number; readonly message: RankMessage }
  | { readonly type: 'end'; readonly rank: number; readonly end: Pick<RankEnd, 'problem' | 'hint'> }
  /** No rank could be started. */
  | { readonly type: 'notStarted'; readonly error: SerializedError }
  | { readonly type: 'terminated' }
  /** Nothing follows. */
  | { readonly type: 'finished' };

/** Another process of a job, seen from the one that has the engine. */
export interface Follower {
  /** Name of its machine. */
  readonly host: string;
  /** Sends an order. Orders arrive in the order in which they were sent. */
  order(order: object): void;
  /** Called with each report. The last function that was set is. */
  onReport: ((report: object) => void) | undefined;
  /** Called with why there will be no more reports. */
  onEnd: ((error: Error) => void) | undefined;
}

/** A process that has a stage of a model for the one with the engine. */
export interface HostedPlace {
  readonly follower: Follower;
  readonly stage: StagePlace;
}

/** Ranks that each process of a job has. @throws ShardingError where the processes can't share them equally. */
export function ranksPerProcess(size: number, { followers }: Job): number {
  const processes = 1 + followers.length;
  if (size % processes === 0) return size / processes;
  throw new ShardingError(
    `tensorParallelSize is ${size}, which ${processes} processes can't share equally.`,
    `Use a multiple of ${processes}, or start another number of processes.`,
  );
}

/** Processes that may share a model. The first has the engine, and the others follow it. */
export interface Job {
  /** The other processes, in order: process 1 and so on. */
  readonly followers: readonly Follower[];
  /** Path of the MPI library that the processes' threads exchange by; undefined where they can't. */
  readonly library: string | undefined;
  /** Name of this process's machine. */
  readonly host: string;
  /** A way to another process, besides orders and reports. Messages of other channels do not come in its way. */
  link(process: number, channel: number): Link;
  /** A channel that no link has had, so that none of an earlier link's messages are left in it. */
  newChannel(): number;
}
