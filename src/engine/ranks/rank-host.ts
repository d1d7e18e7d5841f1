import type { FileAnswer, FileQuestion } from '../../checkpoint/files/remote-files.ts';
import type { ProgressCallback, ProgressEvent } from '../../checkpoint/net/progress.ts';
import { type ProcessGroup, singleProcess } from '../../distributed/process-group.ts';
import { serializeError } from '../../distributed/serialized-error.ts';
import { failGroup, SharedMemoryGroup } from '../../distributed/shared-memory-group.ts';
import { OutOfMemoryError, RankFailedError } from '../../errors.ts';
import type { ModelRunner } from '../run/model-runner.ts';
import { buffersOf, carryOut } from './rank-answer.ts';
import { openRankPort, type RankPort } from './rank-port.ts';
import type { RankRequest, RankStart, StepRequest } from './rank-protocol.ts';

/** Connections of a rank to the others, for loading. */
export interface RankSurroundings {
  readonly group: ProcessGroup;
  /** Absent where another rank reports the progress of all. */
  readonly onProgress: ProgressCallback | undefined;
  /** Asks the executor's thread to read a file. */
  readonly ask: (question: FileQuestion) => Promise<FileAnswer>;
}

/** Loads a rank's shard. */
export type RankLoader<Source> = (start: RankStart<Source>, surroundings: RankSurroundings) => Promise<ModelRunner>;

/** Makes this thread a rank, which loads its shard and then runs every step that it is sent. */
export function serveRank<Source>(load: RankLoader<Source>): void {
  new RankHost(load);
}

/** The group of a rank. */
async function groupOf({ memory, rank, places, nccl }: RankStart<unknown>, port: RankPort): Promise<ProcessGroup> {
  if (nccl) {
    const { NcclGroup } = await import('../../backends/cuda/nccl/nccl-group.ts');
    return NcclGroup.open(nccl, (state) => port.post({ type: 'joins', state }));
  }
  if (!memory) return singleProcess;
  if (!places) return new SharedMemoryGroup(memory, rank);
  // Loaded on need: it calls a library that few have.
  const { MpiGroup } = await import('../../distributed/mpi/mpi-group.ts');
  return MpiGroup.open(memory, rank, places);
}

class RankHost<Source> {
  readonly #loader: RankLoader<Source>;
  readonly #port: RankPort;
  readonly #questions = new Map<number, (answer: FileAnswer) => void>();
  #asked = 0;
  #started: { readonly start: RankStart<Source>; readonly runner: Promise<ModelRunner> } | undefined;

  constructor(loader: RankLoader<Source>) {
    this.#loader = loader;
    this.#port = openRankPort<Source>((request) => this.#receive(request));
  }

  #receive(request: RankRequest<Source>): void {
    switch (request.type) {
      case 'start':
        this.#start(request.start).catch((error: unknown) => this.#fail(error));
        break;
      case 'recycle':
        this.#started?.runner.then((runner) => runner.recycle(request.logits)).catch(() => {});
        break;
      case 'answer':
        this.#questions.get(request.id)?.(request.answer);
        this.#questions.delete(request.id);
        break;
      case 'ping':
        this.#port.post({ type: 'pong' });
        break;
      default:
        this.#step(request).catch((error: unknown) => this.#fail(error));
    }
  }

  async #start(start: RankStart<Source>): Promise<void> {
    const runner = this.#load(start);
    this.#started = { start, runner };
    const { stateFootprint, samplesTokens, maxBatchedTokens, promptAlignment, failed } = await runner;
    this.#port.post({ type: 'ready', stateFootprint, samplesTokens, maxBatchedTokens, promptAlignment });
    failed?.then((error) => this.#fail(error));
  }

  async #load(start: RankStart<Source>): Promise<ModelRunner> {
    const { rank } = start;
    const report = (event: ProgressEvent) => this.#port.post({ type: 'progress', event });
    return this.#loader(start, {
      group: await groupOf(start, this.#port),
      onProgress: rank === 0 ? report : undefined,
      ask: (question) => this.#ask(question),
    });
  }

  async #step(request: StepRequest): Promise<void> {
    if (this.#started === undefined) return;
    const { start, runner } = this.#started;
    const { id } = request;
    try {
      const result = await carryOut(await runner, request, start.rank);
      this.#port.post({ type: 'result', id, result }, buffersOf(result));
    } catch (error) {
      if (!(error instanceof OutOfMemoryError)) throw error;
      // What the other GPUs have begun waits for this one's part, and can't be taken back.
      if (start.nccl) throw new RankFailedError(`Rank ${start.rank}: ${error.message}`, '', { cause: error });
      // Otherwise the other ranks would wait for its part forever.
      if (start.memory) failGroup(start.memory);
      this.#port.post({ type: 'result', id, result: { outOfMemory: serializeError(error) } });
    }
  }

  #ask(question: FileQuestion): Promise<FileAnswer> {
    return new Promise((resolve) => {
      const id = this.#asked++;
      this.#questions.set(id, resolve);
      this.#port.post({ type: 'question', id, question });
    });
  }

  /** Reports an error, then releases the ranks that wait for this one: their errors follow from the first. */
  #fail(error: unknown): void {
    this.#port.post({ type: 'error', error: serializeError(error) });
    if (this.#started?.start.memory) failGroup(this.#started.start.memory);
  }
}
