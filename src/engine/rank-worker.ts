import { Checkpoint } from '../checkpoint/checkpoint.ts';
import { type FileAnswer, type FileQuestion, RemoteFiles } from '../checkpoint/files/remote-files.ts';
import type { ProgressEvent } from '../checkpoint/net/progress.ts';
import { singleProcess } from '../distributed/process-group.ts';
import { serializeError } from '../distributed/serialized-error.ts';
import { failGroup, SharedMemoryGroup } from '../distributed/shared-memory-group.ts';
import { OutOfMemoryError } from '../errors.ts';
import { loadRank } from './load-rank.ts';
import type { ModelRunner } from './model-runner.ts';
import { answer, buffersOf } from './rank-answer.ts';
import { openRankPort } from './rank-port.ts';
import type { RankRequest, RankStart, StepRequest } from './rank-protocol.ts';
import { loadSyntheticRank } from './synthetic-model.ts';

/** One rank in a thread of its own: loads its shard, then runs every step that it is sent. */
class RankHost {
  readonly #port = openRankPort((request) => this.#receive(request));
  readonly #questions = new Map<number, (answer: FileAnswer) => void>();
  #asked = 0;
  #started: { readonly start: RankStart; readonly runner: Promise<ModelRunner> } | undefined;

  #receive(request: RankRequest): void {
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
      default:
        this.#step(request).catch((error: unknown) => this.#fail(error));
    }
  }

  async #start(start: RankStart): Promise<void> {
    const runner = this.#load(start);
    this.#started = { start, runner };
    const { stateFootprint, samplesTokens, maxBatchedTokens, failed } = await runner;
    this.#port.post({ type: 'ready', stateFootprint, samplesTokens, maxBatchedTokens });
    failed?.then((error) => this.#fail(error));
  }

  async #load({ source, memory, rank, options }: RankStart): Promise<ModelRunner> {
    const group = memory ? new SharedMemoryGroup(memory, rank) : singleProcess;
    const report = (event: ProgressEvent) => this.#port.post({ type: 'progress', event });
    const onProgress = rank === 0 ? report : undefined;
    if ('synthetic' in source) return loadSyntheticRank(source.synthetic, group, options, { onProgress });
    const files = 'folder' in source ? source.folder : new RemoteFiles(source.files, (question) => this.#ask(question));
    const checkpoint = await Checkpoint.open(files);
    try {
      return await loadRank(checkpoint, group, options, { onProgress });
    } finally {
      await checkpoint.close();
    }
  }

  async #step(request: StepRequest): Promise<void> {
    if (this.#started === undefined) return;
    const { start, runner } = this.#started;
    const { id } = request;
    try {
      const result = await answer(await runner, request, start.rank);
      this.#port.post({ type: 'result', id, result }, buffersOf(result));
    } catch (error) {
      if (!(error instanceof OutOfMemoryError)) throw error;
      // The others must not wait for what it does not give.
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

  /** A rank that can't go on must not leave the others waiting for it. Its own error goes first: theirs follow from it. */
  #fail(error: unknown): void {
    this.#port.post({ type: 'error', error: serializeError(error) });
    if (this.#started?.start.memory) failGroup(this.#started.start.memory);
  }
}

new RankHost();
