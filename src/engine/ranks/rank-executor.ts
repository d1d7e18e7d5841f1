import type { ModelFiles } from '../../checkpoint/files/model-files.ts';
import type { ProgressCallback } from '../../checkpoint/net/progress.ts';
import { isUrl } from '../../checkpoint/net/urls.ts';
import { reviveError } from '../../distributed/serialized-error.ts';
import { createGroupMemory, failGroup, type GroupMemory, resetGroup } from '../../distributed/shared-memory-group.ts';
import type { WorkerScript, WorkerScripts } from '../../distributed/worker-scripts.ts';
import { DisposedError, RankFailedError } from '../../errors.ts';
import {
  type Batch,
  type Executor,
  exportedLength,
  type StateFootprint,
  type StatePlace,
  type StepOutput,
} from '../run/executor.ts';
import { checkStateLength } from '../run/state-cache.ts';
import { joinStateParts } from '../run/state-part.ts';
import { compileForDevice } from './devices.ts';
import type { LoadWatch, RankOptions } from './load-rank.ts';
import { RankFileServer } from './rank-files.ts';
import type { CheckpointSource, RankMessage, RankResult, StepQuestion } from './rank-protocol.ts';
import { type RankThread, startRankThread } from './rank-thread.ts';

type RankReply = Extract<RankMessage, { type: 'ready' | 'result' }>;

/** Answers of the ranks to one question. */
interface PendingReplies {
  readonly messages: RankReply[];
  readonly settle: (error?: Error) => void;
}

/** Source of the ranks' weights. */
export interface RankSource {
  /** Sent to each rank: plain data that the script of the ranks understands. */
  readonly source: unknown;
  /** Files that this thread reads for all ranks. */
  readonly files?: ModelFiles;
}

/** Callback and signal for loading, and the place of the ranks' script. */
interface RankWatch extends LoadWatch {
  readonly workers?: WorkerScripts | undefined;
}

/** The id of what ranks answer when they have loaded. */
const LOADING = -1;

/** Steps of a model that is sharded over threads, one per rank. The caller's thread only sends and receives. */
export class RankExecutor implements Executor {
  readonly #threads: readonly RankThread[];
  /** Memory for collectives; absent with one rank. */
  readonly #memory: GroupMemory | undefined;
  readonly #fileServer: RankFileServer | undefined;
  readonly #onProgress: ProgressCallback | undefined;
  /** Why no further step can run: set when a rank has failed, or the executor is disposed of. */
  #ended: Error | undefined;
  #lastStep: Promise<unknown> = Promise.resolve();
  readonly #pending = new Map<number, PendingReplies>();
  readonly failed: Promise<Error>;
  #reportFailure: (error: Error) => void = () => {};
  #asked = 0;
  #stateFootprint: StateFootprint = { bytes: 0, length: 0 };
  #samplesTokens = false;
  #maxBatchedTokens = Number.POSITIVE_INFINITY;

  private constructor(
    { source, files }: RankSource,
    size: number,
    options: RankOptions,
    onProgress: ProgressCallback | undefined,
    script: WorkerScript | undefined,
  ) {
    this.failed = new Promise((resolve) => {
      this.#reportFailure = resolve;
    });
    // Before threads are started: if compiling failed, they would be left running.
    const shared = { ...options, kernels: compileForDevice(options.device, options.blockFormats) };
    this.#memory = size > 1 ? createGroupMemory(size) : undefined;
    this.#onProgress = onProgress;
    this.#threads = Array.from({ length: size }, (_, rank) =>
      startRankThread(
        rank,
        {
          onMessage: (message) => this.#receive(message, rank),
          onEnd: (problem, cause, hint = 'Load the model again.') =>
            this.#end(new RankFailedError(`Rank ${rank} ${problem}.`, hint, { cause })),
        },
        script,
      ),
    );
    if (files) {
      this.#fileServer = new RankFileServer(files, size, ({ rank, id }, answer, transfer) =>
        this.#threads[rank].post({ type: 'answer', id, answer }, transfer),
      );
    }
    this.#threads.forEach((thread, rank) => {
      const start = { source, rank, memory: this.#memory, options: shared };
      thread.post({ type: 'start', start });
    });
  }

  /** Starts `size` ranks of a checkpoint's model and waits until all have loaded. */
  static load(
    files: ModelFiles | string,
    size: number,
    options: RankOptions,
    watch?: RankWatch,
  ): Promise<RankExecutor> {
    return RankExecutor.start(checkpointSource(files), size, options, watch);
  }

  /** Starts `size` ranks, wherever their weights come from, and waits until all have loaded. */
  static async start(
    source: RankSource,
    size: number,
    options: RankOptions,
    watch: RankWatch = {},
  ): Promise<RankExecutor> {
    watch.signal?.throwIfAborted();
    const executor = new RankExecutor(source, size, options, watch.onProgress, watch.workers?.rank);
    const abort = () => executor.#end(watch.signal?.reason);
    watch.signal?.addEventListener('abort', abort, { once: true });
    try {
      const replies = await executor.#allReplies(LOADING);
      executor.#stateFootprint = totalFootprint(replies);
      executor.#samplesTokens = replies.every((reply) => reply.type === 'ready' && reply.samplesTokens);
      const most = replies.map((reply) => (reply.type === 'ready' ? reply.maxBatchedTokens : Number.POSITIVE_INFINITY));
      executor.#maxBatchedTokens = Math.min(...most);
    } catch (error) {
      await executor.dispose();
      throw error;
    } finally {
      watch.signal?.removeEventListener('abort', abort);
    }
    return executor;
  }

  get stateFootprint(): StateFootprint {
    return this.#stateFootprint;
  }

  get maxBatchedTokens(): number {
    return this.#maxBatchedTokens;
  }

  get samplesTokens(): boolean {
    return this.#samplesTokens;
  }

  async execute(batch: Batch): Promise<StepOutput> {
    const output = (await this.#step({ type: 'execute', batch })).find(({ step }) => step)?.step;
    if (output === undefined) throw new RankFailedError('Rank 0 returned no logits.');
    return output;
  }

  recycle(logits: Float32Array<ArrayBuffer>): void {
    this.#threads[0].post({ type: 'recycle', logits }, [logits.buffer]);
  }

  async exportState(place: StatePlace): Promise<Float32Array<ArrayBuffer>> {
    const results = await this.#step({ type: 'exportState', place });
    const parts = results.flatMap(({ stateParts = [] }) => stateParts);
    return joinStateParts(parts, exportedLength(this.#stateFootprint, place.length));
  }

  async importState(place: StatePlace, state: Float32Array): Promise<void> {
    // A rank that refused it would end all ranks.
    checkStateLength(state, this.#stateFootprint, place.length);
    await this.#step({ type: 'importState', place, state });
  }

  async dispose(): Promise<void> {
    this.#reportFailure = () => {};
    this.#end(new DisposedError('The model was disposed of.'));
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }

  /** Asks every rank, and returns their answers. */
  #step(question: StepQuestion): Promise<RankResult[]> {
    const ask = async () => {
      const id = this.#asked++;
      const replies = this.#allReplies(id);
      for (const thread of this.#threads) thread.post({ ...question, id });
      const results = (await replies).map((reply) => (reply.type === 'result' ? reply.result : {}));
      const problem = results.find(({ outOfMemory }) => outOfMemory)?.outOfMemory;
      if (!problem) return results;
      // All have answered, so none is in the middle of an exchange.
      if (this.#memory) resetGroup(this.#memory);
      throw reviveError(problem);
    };
    // Ranks that exchange partial results must not mix those of two steps.
    const step = this.#threads.length === 1 ? ask() : this.#lastStep.then(ask);
    this.#lastStep = step.catch(() => {});
    return step;
  }

  /** Settles when every rank has answered. */
  #allReplies(id: number): Promise<RankReply[]> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(this.#ended);
      const messages: RankReply[] = [];
      this.#pending.set(id, { messages, settle: (error?: Error) => (error ? reject(error) : resolve(messages)) });
    });
  }

  #receive(message: RankMessage, rank: number): void {
    switch (message.type) {
      case 'question':
        this.#fileServer?.ask({ rank, id: message.id }, message.question).catch((error: Error) => this.#end(error));
        break;
      case 'ready':
        this.#fileServer?.finish(rank).catch((error: Error) => this.#end(error));
        this.#reply(LOADING, message);
        break;
      case 'progress':
        this.#onProgress?.(message.event);
        break;
      case 'error':
        this.#end(reviveError(message.error));
        break;
      case 'result':
        this.#reply(message.id, message);
    }
  }

  #reply(id: number, message: RankReply): void {
    const replies = this.#pending.get(id);
    if (!replies) return;
    replies.messages.push(message);
    if (replies.messages.length < this.#threads.length) return;
    this.#pending.delete(id);
    replies.settle();
  }

  /** The first failure is the one to report: later ones follow from it. */
  #end(error: Error): void {
    if (this.#ended) return;
    this.#ended = error;
    if (this.#memory) failGroup(this.#memory);
    for (const replies of this.#pending.values()) replies.settle(error);
    this.#pending.clear();
    this.#reportFailure(error);
  }
}

/** All ranks can read a folder themselves. A URL is read here for all of them, so that it is fetched once. */
function checkpointSource(files: ModelFiles | string): RankSource {
  const location = typeof files === 'string' ? files : files.location;
  const source: CheckpointSource =
    typeof files === 'string' || !isUrl(location) ? { folder: location } : { files: location };
  return typeof files === 'string' || !isUrl(location) ? { source } : { source, files };
}

/** All ranks know how long a whole state is, and each how many bytes it holds of one. */
function totalFootprint(replies: readonly RankReply[]): StateFootprint {
  const footprints = replies.flatMap((reply) => (reply.type === 'ready' ? [reply.stateFootprint] : []));
  return footprints.reduce((total, { bytes, length, kvCache }) => ({
    bytes: total.bytes + bytes,
    length,
    kvCache: kvCache && { ...kvCache, blockBytes: (total.kvCache?.blockBytes ?? 0) + kvCache.blockBytes },
  }));
}
