import type { ModelFiles } from '../../checkpoint/files/model-files.ts';
import type { ProgressCallback } from '../../checkpoint/net/progress.ts';
import { isUrl } from '../../checkpoint/net/urls.ts';
import { reviveError } from '../../distributed/serialized-error.ts';
import type { WorkerScripts } from '../../distributed/worker-scripts.ts';
import { DisposedError, RankFailedError, ShardingError } from '../../errors.ts';
import {
  type Batch,
  type Executor,
  exportedLength,
  type GuessBatch,
  type StateFootprint,
  type StatePlace,
  type StepOutput,
} from '../run/executor.ts';
import { checkStateLength } from '../run/state-cache.ts';
import { joinStateParts } from '../run/state-part.ts';
import { GroupWatch } from './group-watch.ts';
import { type HostedPlace, type Job, ranksPerProcess } from './job.ts';
import type { LoadWatch, RankOptions } from './load-rank.ts';
import { LocalRanks, type ProcessRanks, type ProcessStart, type RankEnd } from './process-ranks.ts';
import { RankFileServer } from './rank-files.ts';
import type {
  CheckpointSource,
  RankMessage,
  RankRequest,
  RankResult,
  StepQuestion,
  StepRequest,
} from './rank-protocol.ts';
import { RemoteRanks } from './remote-ranks.ts';

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
  readonly files?: ModelFiles | undefined;
}

/** Callback and signal for loading, and where the ranks are. */
interface RankWatch extends LoadWatch {
  readonly workers?: WorkerScripts | undefined;
  /** Processes that have the ranks, each the same number. Default: this process has all. */
  readonly job?: Job | undefined;
  /** The process that has a stage of the model, in place of this one. */
  readonly hosted?: HostedPlace | undefined;
  /** By which ranks with a GPU each find each other. */
  readonly groupId?: Uint8Array | undefined;
  /** Identity of the model, which the other processes compare with that of their files. */
  readonly model?: unknown;
}

/** The id of what ranks answer when they have loaded. */
const LOADING = -1;

/**
 * Steps of a model that is sharded over threads, one per rank, of this process or of several; or over processes with a GPU
 * each. The caller's thread only sends and
 * receives.
 */
export class RankExecutor implements Executor {
  /** In the order of their ranks. The first is this process. */
  readonly #processes: readonly ProcessRanks[];
  readonly #size: number;
  readonly #fileServer: RankFileServer | undefined;
  readonly #onProgress: ProgressCallback | undefined;
  /** Present where each rank has a GPU. */
  readonly #watch: GroupWatch | undefined;
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
  #promptAlignment: number | undefined;

  private constructor({ source, files }: RankSource, size: number, options: RankOptions, watch: RankWatch) {
    this.failed = new Promise((resolve) => {
      this.#reportFailure = resolve;
    });
    this.#size = size;
    this.#onProgress = watch.onProgress;
    if (watch.groupId) {
      this.#watch = new GroupWatch(size, {
        ask: (rank) => this.#post(rank, { type: 'ping' }),
        onHang: (error) => this.#end(error),
      });
    }
    this.#processes = this.#start({ source, size, options }, watch);
    if (files) {
      this.#fileServer = new RankFileServer(files, size, ({ rank, id }, answer, transfer) =>
        this.#post(rank, { type: 'answer', id, answer }, transfer),
      );
    }
  }

  #start(model: Omit<ProcessStart, 'own'>, watch: RankWatch): ProcessRanks[] {
    const { workers, job, hosted, model: identity, groupId } = watch;
    const followers = job?.followers ?? [];
    const count = job ? ranksPerProcess(model.size, job) : model.size;
    const processes = Array.from({ length: 1 + followers.length }, (_, i) => ({ process: i, first: i * count, count }));
    const places = job && !groupId ? { library: mpiLibraryOf(job), processes } : undefined;
    const events = {
      onMessage: (message: RankMessage, rank: number) => this.#receive(message, rank),
      onEnd: ({ problem, cause, hint = 'Load the model again.' }: RankEnd, rank: number) =>
        this.#end(new RankFailedError(`Rank ${rank} ${problem}.`, hint, { cause })),
      onFailure: (error: Error) => this.#end(error),
    };
    if (hosted) {
      const start = { ...model, own: { first: 0, count: 1 }, stage: hosted.stage };
      return [new RemoteRanks(hosted.follower, start, identity, events)];
    }
    const hosts = [job?.host, ...followers.map(({ host }) => host)];
    const starts = processes.map(({ first }, i): ProcessStart => {
      // Processes of one machine divide its GPUs among them.
      const before = hosts.slice(0, i).filter((host) => host === hosts[i]).length;
      const gpus = groupId && { id: groupId, first: before * count };
      return { ...model, own: { first, count }, places, gpus };
    });
    const local = new LocalRanks(starts[0], events, workers?.rank);
    return [local, ...followers.map((follower, i) => new RemoteRanks(follower, starts[i + 1], identity, events))];
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
    const groupId = watch.hosted ? undefined : await groupIdOf(options, size);
    watch.signal?.throwIfAborted();
    const executor = new RankExecutor(source, size, options, { ...watch, groupId });
    const abort = () => executor.#end(watch.signal?.reason);
    watch.signal?.addEventListener('abort', abort, { once: true });
    try {
      const replies = await executor.#allReplies(LOADING);
      executor.#stateFootprint = totalFootprint(replies);
      executor.#samplesTokens = replies.every((reply) => reply.type === 'ready' && reply.samplesTokens);
      const most = replies.map((reply) => (reply.type === 'ready' ? reply.maxBatchedTokens : Number.POSITIVE_INFINITY));
      executor.#maxBatchedTokens = Math.min(...most);
      executor.#promptAlignment = replies.find((reply) => reply.type === 'ready')?.promptAlignment;
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

  get promptAlignment(): number | undefined {
    return this.#promptAlignment;
  }

  get samplesTokens(): boolean {
    return this.#samplesTokens;
  }

  async execute(batch: Batch): Promise<StepOutput> {
    const output = (await this.#step({ type: 'execute', batch })).find(({ step }) => step)?.step;
    if (output === undefined) throw new RankFailedError('Rank 0 returned no logits.');
    return output;
  }

  async guess(batch: GuessBatch): Promise<Int32Array<ArrayBuffer>> {
    const found = (await this.#step({ type: 'guess', batch })).find(({ guesses }) => guesses)?.guesses;
    if (found === undefined) throw new RankFailedError('Rank 0 returned no guesses.');
    return found;
  }

  recycle(logits: Float32Array<ArrayBuffer>): void {
    this.#post(0, { type: 'recycle', logits }, [logits.buffer]);
  }

  async exportState(place: StatePlace): Promise<Float32Array<ArrayBuffer>> {
    const results = await this.#step({ type: 'exportState', place });
    const parts = results.flatMap(({ stateParts = [] }) => stateParts);
    return joinStateParts(parts, exportedLength(this.#stateFootprint, place));
  }

  async importState(place: StatePlace, state: Float32Array): Promise<void> {
    // A rank that refused it would end all ranks.
    checkStateLength(state, this.#stateFootprint, place);
    await this.#step({ type: 'importState', place, state });
  }

  async dispose(): Promise<void> {
    this.#reportFailure = () => {};
    this.#end(new DisposedError('The model was disposed of.'));
    await Promise.all(this.#processes.map((ranks) => ranks.terminate()));
  }

  /** Asks every rank, and returns their answers. */
  #step(question: StepQuestion): Promise<RankResult[]> {
    const ask = async () => {
      const id = this.#asked++;
      const replies = this.#allReplies(id);
      const results = (await this.#watched(replies, { ...question, id })).map((reply) => {
        return reply.type === 'result' ? reply.result : {};
      });
      const problem = results.find(({ outOfMemory }) => outOfMemory)?.outOfMemory;
      if (!problem) return results;
      // All have answered, so none is in the middle of an exchange.
      for (const ranks of this.#processes) ranks.reset();
      throw reviveError(problem);
    };
    // Threads that exchange partial results must not mix those of two steps. GPUs take steps in their order.
    const step = this.#size === 1 || this.#watch ? ask() : this.#lastStep.then(ask);
    this.#lastStep = step.catch(() => {});
    return step;
  }

  /** Sends a request to every rank. → their replies */
  async #watched(replies: Promise<RankReply[]>, request: StepRequest): Promise<RankReply[]> {
    this.#watch?.begin();
    try {
      for (const ranks of this.#processes) ranks.ask(request);
      return await replies;
    } finally {
      this.#watch?.end();
    }
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
      case 'joins':
        this.#watch?.joins(rank, message.state);
        break;
      case 'pong':
        this.#watch?.answered(rank);
        break;
      case 'error':
        this.#end(reviveError(message.error));
        break;
      case 'result':
        // The rank has released those of its own process.
        if (message.result.outOfMemory) for (const ranks of this.#processes) ranks.fail();
        this.#reply(message.id, message);
    }
  }

  #post(rank: number, request: RankRequest, transfer?: readonly ArrayBuffer[]): void {
    const { count } = this.#processes[0].own;
    this.#processes[Math.floor(rank / count)].post(rank, request, transfer);
  }

  #reply(id: number, message: RankReply): void {
    const replies = this.#pending.get(id);
    if (!replies) return;
    replies.messages.push(message);
    if (replies.messages.length < this.#size) return;
    this.#pending.delete(id);
    replies.settle();
  }

  /** The first failure is the one to report: later ones follow from it. */
  #end(error: Error): void {
    if (this.#ended) return;
    this.#ended = error;
    for (const ranks of this.#processes) ranks.fail();
    for (const replies of this.#pending.values()) replies.settle(error);
    this.#pending.clear();
    this.#watch?.stop();
    this.#reportFailure(error);
  }
}

/** @throws ShardingError where threads of several processes can't exchange. */
function mpiLibraryOf({ library }: Job): string {
  if (library !== undefined) return library;
  throw new ShardingError(
    'Ranks on the processors of several machines exchange by MPI, and this job has none.',
    "Start it by mpirun, or use the device 'cuda'.",
  );
}

/** By which ranks find each other that have a GPU each; undefined for others. @throws MissingPackageError */
async function groupIdOf({ device }: RankOptions, size: number): Promise<Uint8Array | undefined> {
  if (device !== 'cuda' || size === 1) return undefined;
  const { NcclLibrary } = await import('../../backends/cuda/nccl/nccl-library.ts');
  return (await NcclLibrary.load()).uniqueId();
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
