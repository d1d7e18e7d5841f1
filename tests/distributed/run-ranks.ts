import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { ProcessGroup } from '../../src/distributed/process-group.ts';
import type { SerializedError } from '../../src/distributed/serialized-error.ts';
import { createGroupMemory, failGroup, type GroupMemory } from '../../src/distributed/shared-memory-group.ts';
import * as errors from '../../src/errors.ts';

type InputOf<F> = F extends (group: ProcessGroup, input: infer I) => unknown ? I : never;
type ResultOf<F> = F extends (group: ProcessGroup, input: never) => infer R ? Awaited<R> : never;

/** To a rank: what to run. */
export interface RankTask {
  readonly name: string;
  readonly memory: GroupMemory;
  readonly rank: number;
  readonly input: unknown;
}

/** From a rank: what came of it. */
export type RankReply = { readonly result: unknown } | { readonly error: SerializedError };

/** What one rank's function returned or threw. */
export type RankOutcome<R> = { readonly result: R } | { readonly error: Error; readonly died?: true };

/**
 * Runs exported functions `(group, input) => result` of a module M on worker threads, one per rank, over shared memory.
 * Inputs and results are structured clones. Workers are started on need and kept until {@link close}, because starting
 * one takes longer than most cases do.
 */
export class RankPool<M> {
  readonly #module: string;
  readonly #workers: Worker[] = [];
  readonly #memories = new Map<number, GroupMemory>();
  #last: Promise<unknown> = Promise.resolve();

  /** @param module of the functions; the threads import it, so it must run without vitest. */
  constructor(module: URL) {
    this.#module = module.href;
  }

  /** Each rank's result, in rank order. Rejects with the error of the rank that failed first of its own accord. */
  async run<K extends keyof M & string>(name: K, size: number, input: InputOf<M[K]>): Promise<ResultOf<M[K]>[]> {
    const outcomes = await this.outcomes(name, size, input);
    const failures = outcomes.flatMap((outcome) => ('error' in outcome ? [outcome.error] : []));
    // A rank that was only released by another's failure knows nothing of the cause.
    const cause = failures.find((error) => !(error instanceof errors.RankFailedError)) ?? failures[0];
    if (cause) throw cause;
    return outcomes.flatMap((outcome) => ('result' in outcome ? [outcome.result] : []));
  }

  /** What came of each rank, in rank order. */
  async outcomes<K extends keyof M & string>(
    name: K,
    size: number,
    input: InputOf<M[K]>,
  ): Promise<RankOutcome<ResultOf<M[K]>>[]> {
    // One run at a time: ranks of two runs would share threads and wait for each other.
    const previous = this.#last;
    const current = previous.then(() => this.#outcomes<ResultOf<M[K]>>(name, size, input));
    this.#last = current.catch(() => undefined);
    return current;
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
    this.#workers.length = 0;
  }

  async #outcomes<R>(name: string, size: number, input: unknown): Promise<RankOutcome<R>[]> {
    const file = new URL('./rank-thread.ts', import.meta.url);
    while (this.#workers.length < size) this.#workers.push(new Worker(file, { workerData: this.#module }));
    const memory = this.#memories.get(size) ?? createGroupMemory(size);
    this.#memories.set(size, memory);
    const workers = this.#workers.slice(0, size);
    const outcomes = await Promise.all(workers.map((worker, rank) => ask<R>(worker, { name, memory, rank, input })));
    // A group that failed stays failed.
    if (outcomes.some((outcome) => 'error' in outcome)) this.#memories.delete(size);
    // A thread that died takes no further task; the others are cheap to start again.
    if (outcomes.some((outcome) => 'died' in outcome)) await this.close();
    return outcomes;
  }
}

async function ask<R>(worker: Worker, task: RankTask): Promise<RankOutcome<R>> {
  const reply = once(worker, 'message');
  worker.postMessage(task);
  try {
    const [message]: RankReply[] = await reply;
    return 'error' in message ? { error: revive(message.error) } : { result: message.result as R };
  } catch (error) {
    // Nobody else releases the other ranks.
    failGroup(task.memory);
    return { error: error instanceof Error ? error : new Error(String(error)), died: true };
  }
}

function revive({ name, message, stack }: SerializedError): Error {
  const known: unknown = Object.entries(errors).find(([className]) => className === name)?.[1];
  const ErrorClass = (known ?? Error) as new (message: string) => Error;
  const error = new ErrorClass(message);
  if (stack !== undefined) error.stack = stack;
  return error;
}
