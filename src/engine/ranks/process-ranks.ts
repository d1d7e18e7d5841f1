import type { MpiPlaces } from '../../distributed/mpi/mpi-group.ts';
import { createGroupMemory, failGroup, type RankRange, resetGroup } from '../../distributed/shared-memory-group.ts';
import type { WorkerScript } from '../../distributed/worker-scripts.ts';
import { compileForDevice } from './devices.ts';
import type { RankOptions } from './load-rank.ts';
import { startRankProcess } from './rank-process.ts';
import type { RankMessage, RankRequest, StepRequest } from './rank-protocol.ts';
import { type RankThread, startRankThread } from './rank-thread.ts';

/** What the ranks of a process begin with. It can be sent to another process. */
export interface ProcessStart {
  readonly own: RankRange;
  /** Ranks of the model on all processes. */
  readonly size: number;
  /** Source of the weights: plain data that the script of the ranks understands. */
  readonly source: unknown;
  readonly options: RankOptions;
  /** Processes that share the model; absent where this is the only one. */
  readonly places?: MpiPlaces | undefined;
  /** Present where each rank has a GPU. */
  readonly gpus?: GpuPlaces | undefined;
  /** Present where the process has a stage of the model, which counts as one rank. */
  readonly stage?: StagePlace | undefined;
}

/** GPUs of a process's ranks. */
export interface GpuPlaces {
  /** By which all ranks of the model find each other. */
  readonly id: Uint8Array;
  /** Number of the first rank's GPU; the others have those after it. */
  readonly first: number;
}

/** Place of a stage among those of other processes. */
export interface StagePlace {
  /** Threads that share the stage. */
  readonly numRanks: number;
  /** Numbers per token that cross from one stage to the next. */
  readonly activationSize: number;
  /** Channel of the links between stages. */
  readonly channel: number;
  /** Process that has the stage before. Absent: this is the first. */
  readonly before?: number | undefined;
  /** Process that has the stage after it. */
  readonly after: number;
}

/** Problem of a rank. `problem` completes a sentence: 'Rank 0 …'. */
export interface RankEnd {
  readonly problem: string;
  readonly cause?: unknown;
  readonly hint?: string | undefined;
}

export interface RankEvents {
  readonly onMessage: (message: RankMessage, rank: number) => void;
  /** Called when a rank is gone or can no longer be relied on. */
  readonly onEnd: (end: RankEnd, rank: number) => void;
}

/** The ranks of one process, which may be another than the caller's. Ranks have the numbers of the whole model. */
export interface ProcessRanks {
  readonly own: RankRange;
  post(rank: number, request: RankRequest, transfer?: readonly ArrayBuffer[]): void;
  /** Asks every rank of the process. */
  ask(request: StepRequest): void;
  /** Releases ranks that wait for others: see `failGroup`. */
  fail(): void;
  /** See `resetGroup`. */
  reset(): void;
  /** Ends all threads immediately. */
  terminate(): Promise<void>;
}

/** Ranks that are threads of this process, or processes that it starts where they have GPUs. */
export class LocalRanks implements ProcessRanks {
  readonly own: RankRange;
  readonly #threads: readonly RankThread[];
  /** Memory for collectives; absent with one rank in all. */
  readonly #memory;

  constructor(
    { own, size, source, options, places, gpus }: ProcessStart,
    { onMessage, onEnd }: RankEvents,
    script: WorkerScript | undefined,
  ) {
    this.own = own;
    // Before threads are started: if compiling failed, they would be left running.
    const shared = { ...options, kernels: compileForDevice(options.device, options.blockFormats, options.cpuKernels) };
    this.#memory = size > 1 && !gpus ? createGroupMemory(size, own) : undefined;
    const startRank = gpus ? startRankProcess : startRankThread;
    this.#threads = ranksOf(own).map((rank) =>
      startRank(
        rank,
        {
          onMessage: (message) => onMessage(message, rank),
          onEnd: (problem, cause, hint) => onEnd({ problem, cause, hint }, rank),
        },
        script,
      ),
    );
    for (const rank of ranksOf(own)) {
      const nccl = gpus && { id: gpus.id, rank, size, gpu: gpus.first + rank - own.first };
      this.post(rank, { type: 'start', start: { source, rank, memory: this.#memory, options: shared, places, nccl } });
    }
  }

  post(rank: number, request: RankRequest, transfer?: readonly ArrayBuffer[]): void {
    this.#threads[rank - this.own.first].post(request, transfer);
  }

  ask(request: StepRequest): void {
    for (const thread of this.#threads) thread.post(request);
  }

  fail(): void {
    if (this.#memory) failGroup(this.#memory);
  }

  reset(): void {
    if (this.#memory) resetGroup(this.#memory);
  }

  async terminate(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }
}

function ranksOf({ first, count }: RankRange): number[] {
  return Array.from({ length: count }, (_, i) => first + i);
}
