import { Worker } from 'node:worker_threads';
import type { ProgressCallback } from '../checkpoint/progress.ts';
import { createGroupMemory, failGroup, type GroupMemory } from '../distributed/shared-memory-group.ts';
import { DisposedError, RankFailedError } from '../errors.ts';
import type { Batch, Executor, StateFootprint } from './executor.ts';
import type { RankOptions } from './load-rank.ts';
import {
  type RankMessage,
  type RankRequest,
  type RankResult,
  type RankWorkerData,
  reviveError,
  type WeightSource,
} from './rank-protocol.ts';
import { checkStateLength, joinStateParts } from './state-cache.ts';

type RankReply = Extract<RankMessage, { type: 'ready' | 'result' }>;

/** Steps of a model that is sharded over worker threads, one per rank. The caller's thread only sends and receives. */
export class RankExecutor implements Executor {
  readonly #workers: readonly Worker[];
  readonly #memory: GroupMemory;
  readonly #onProgress: ProgressCallback | undefined;
  /** Set once a rank has failed or the executor is disposed of: why no further step can run. */
  #ended: Error | undefined;
  #lastStep: Promise<unknown> = Promise.resolve();
  #replies: { readonly messages: RankReply[]; readonly settle: (error?: Error) => void } | undefined;
  #stateFootprint: StateFootprint = { bytes: 0, length: 0 };

  private constructor(
    source: WeightSource,
    size: number,
    options: RankOptions,
    onProgress: ProgressCallback | undefined,
  ) {
    this.#memory = createGroupMemory(size);
    this.#onProgress = onProgress;
    // A source tree runs its .ts files; the published package has .js only.
    const file = import.meta.url.endsWith('.ts') ? './rank-worker.ts' : './rank-worker.js';
    this.#workers = Array.from({ length: size }, (_, rank) => {
      const workerData: RankWorkerData = { source, memory: this.#memory, rank, options };
      const worker = new Worker(new URL(file, import.meta.url), { workerData, name: `mamba2 rank ${rank}` });
      worker.on('message', (message: RankMessage) => this.#receive(message));
      worker.on('error', (error) =>
        this.#end(new RankFailedError(`Rank ${rank} failed: ${error.message}`, '', { cause: error })),
      );
      worker.on('exit', (code) =>
        this.#end(new RankFailedError(`Rank ${rank} exited with code ${code}.`, 'Load the model again.')),
      );
      return worker;
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
      executor.#stateFootprint = totalFootprint(await executor.#allReplies());
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

  async execute(batch: Batch): Promise<Float32Array<ArrayBuffer>> {
    const logits = (await this.#request({ type: 'execute', batch })).find((result) => result.logits)?.logits;
    if (logits === undefined) throw new RankFailedError('Rank 0 returned no logits.');
    return logits;
  }

  async exportState(snapshot: number): Promise<Float32Array<ArrayBuffer>> {
    const results = await this.#request({ type: 'exportState', snapshot });
    const parts = results.flatMap(({ stateParts = [] }) => stateParts);
    return joinStateParts(parts, this.#stateFootprint.length);
  }

  async importState(snapshot: number, state: Float32Array): Promise<void> {
    // A rank that refused it would take the others down with it.
    checkStateLength(state, this.#stateFootprint);
    await this.#request({ type: 'importState', snapshot, state });
  }

  async dispose(): Promise<void> {
    this.#end(new DisposedError('The model was disposed of.'));
    failGroup(this.#memory);
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  /** What every rank returns. */
  #request(request: RankRequest): Promise<RankResult[]> {
    // Ranks run one step at a time, and a reply does not say which step it answers.
    const step = this.#lastStep.then(async () => {
      const replies = this.#allReplies();
      for (const worker of this.#workers) worker.postMessage(request);
      return (await replies).map((reply) => (reply.type === 'result' ? reply.result : {}));
    });
    this.#lastStep = step.catch(() => {});
    return step;
  }

  /** Settles when every rank has answered what it was sent last. */
  #allReplies(): Promise<RankReply[]> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(this.#ended);
      const messages: RankReply[] = [];
      this.#replies = { messages, settle: (error?: Error) => (error ? reject(error) : resolve(messages)) };
    });
  }

  #receive(message: RankMessage): void {
    switch (message.type) {
      case 'progress':
        this.#onProgress?.(message.event);
        break;
      case 'error':
        this.#end(reviveError(message.error));
        break;
      case 'ready':
      case 'result':
        this.#reply(message);
    }
  }

  #reply(message: RankReply): void {
    const replies = this.#replies;
    if (!replies) return;
    replies.messages.push(message);
    if (replies.messages.length === this.#workers.length) replies.settle();
  }

  /** The first failure is the one to report: later ones follow from it. */
  #end(error: Error): void {
    if (this.#ended) return;
    this.#ended = error;
    failGroup(this.#memory);
    this.#replies?.settle(error);
  }
}

/** All ranks know how long a whole state is, and each how many bytes it holds of one. */
function totalFootprint(replies: readonly RankReply[]): StateFootprint {
  let total = { bytes: 0, length: 0 };
  for (const reply of replies) {
    if (reply.type !== 'ready') continue;
    const { bytes, length } = reply.stateFootprint;
    total = { bytes: total.bytes + bytes, length };
  }
  return total;
}
