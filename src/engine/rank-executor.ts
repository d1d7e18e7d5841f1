import type { ProgressCallback } from '../checkpoint/progress.ts';
import { createGroupMemory, failGroup, type GroupMemory } from '../distributed/shared-memory-group.ts';
import { DisposedError, RankFailedError } from '../errors.ts';
import { compileForDevice } from './devices.ts';
import type { Batch, Executor } from './executor.ts';
import type { RankOptions } from './load-rank.ts';
import { RankFileServer } from './rank-files.ts';
import { type RankMessage, type RankRequest, type RankStart, reviveError, type WeightSource } from './rank-protocol.ts';
import { type RankThread, startRankThread } from './rank-thread.ts';

/** Steps of a model that is sharded over threads, one per rank. The caller's thread only sends and receives. */
export class RankExecutor implements Executor {
  readonly #threads: readonly RankThread[];
  /** Absent with one rank: it has nobody to share with. */
  readonly #memory: GroupMemory | undefined;
  readonly #fileServer: RankFileServer | undefined;
  readonly #onProgress: ProgressCallback | undefined;
  /** Set once a rank has failed or the executor is disposed of: why no further step can run. */
  #ended: Error | undefined;
  #lastStep: Promise<unknown> = Promise.resolve();
  #replies:
    | { waitingFor: number; logits: Float32Array<ArrayBuffer> | undefined; settle: (error?: Error) => void }
    | undefined;

  private constructor(
    source: WeightSource,
    size: number,
    options: RankOptions,
    onProgress: ProgressCallback | undefined,
  ) {
    this.#memory = size > 1 ? createGroupMemory(size) : undefined;
    this.#onProgress = onProgress;
    this.#threads = Array.from({ length: size }, (_, rank) =>
      startRankThread(rank, {
        onMessage: (message) => this.#receive(message, rank),
        onEnd: (problem, cause) =>
          this.#end(new RankFailedError(`Rank ${rank} ${problem}.`, 'Load the model again.', { cause })),
      }),
    );
    if (typeof source === 'object' && 'location' in source) {
      this.#fileServer = new RankFileServer(source, size, ({ rank, id }, answer, transfer) =>
        this.#threads[rank].post({ type: 'answer', id, answer }, transfer),
      );
    }
    const shared = { ...options, kernels: compileForDevice(options.device) };
    this.#threads.forEach((thread, rank) => {
      const start = { source: plainSource(source), rank, memory: this.#memory, options: shared };
      thread.post({ type: 'start', start });
    });
  }

  /** Starts `size` ranks and waits until all have loaded. */
  static async load(
    source: WeightSource,
    size: number,
    options: RankOptions,
    watch: { onProgress?: ProgressCallback | undefined; signal?: AbortSignal | undefined } = {},
  ): Promise<RankExecutor> {
    watch.signal?.throwIfAborted();
    const executor = new RankExecutor(source, size, options, watch.onProgress);
    const abort = () => executor.#end(watch.signal?.reason);
    watch.signal?.addEventListener('abort', abort, { once: true });
    try {
      await executor.#allReplies();
    } catch (error) {
      await executor.dispose();
      throw error;
    } finally {
      watch.signal?.removeEventListener('abort', abort);
    }
    return executor;
  }

  async execute(batch: Batch): Promise<Float32Array<ArrayBuffer>> {
    // Ranks run one step at a time, and a reply does not say which step it answers.
    const step = this.#lastStep.then(() => this.#step(batch));
    this.#lastStep = step.catch(() => {});
    return step;
  }

  async dispose(): Promise<void> {
    this.#end(new DisposedError('The model was disposed of.'));
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }

  async #step(batch: Batch): Promise<Float32Array<ArrayBuffer>> {
    const replies = this.#allReplies();
    const request: RankRequest = { type: 'execute', batch };
    for (const thread of this.#threads) thread.post(request);
    const logits = await replies;
    if (logits === undefined) throw new RankFailedError('Rank 0 returned no logits.');
    return logits;
  }

  /** Settles when every rank has answered what it was sent last. */
  #allReplies(): Promise<Float32Array<ArrayBuffer> | undefined> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(this.#ended);
      const replies = {
        waitingFor: this.#threads.length,
        logits: undefined as Float32Array<ArrayBuffer> | undefined,
        settle: (error?: Error) => (error ? reject(error) : resolve(replies.logits)),
      };
      this.#replies = replies;
    });
  }

  #receive(message: RankMessage, rank: number): void {
    switch (message.type) {
      case 'question':
        this.#fileServer?.ask({ rank, id: message.id }, message.question).catch((error: Error) => this.#end(error));
        break;
      case 'ready':
        this.#fileServer?.finish(rank).catch((error: Error) => this.#end(error));
        this.#reply(message);
        break;
      case 'progress':
        this.#onProgress?.(message.event);
        break;
      case 'error':
        this.#end(reviveError(message.error));
        break;
      case 'result':
        this.#reply(message);
    }
  }

  #reply(message: Extract<RankMessage, { type: 'ready' | 'result' }>): void {
    const replies = this.#replies;
    if (!replies) return;
    if (message.type === 'result' && message.logits) replies.logits = message.logits;
    replies.waitingFor--;
    if (replies.waitingFor === 0) replies.settle();
  }

  /** The first failure is the one to report: later ones follow from it. */
  #end(error: Error): void {
    if (this.#ended) return;
    this.#ended = error;
    if (this.#memory) failGroup(this.#memory);
    this.#replies?.settle(error);
  }
}

/** A source as it can be posted. */
function plainSource(source: WeightSource): RankStart['source'] {
  if (typeof source === 'string') return { folder: source };
  return 'location' in source ? { files: source.location } : { synthetic: source };
}
