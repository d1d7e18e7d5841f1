import { type FileAnswer, type FileQuestion, RemoteFiles } from '../../checkpoint/files/remote-files.ts';
import type { Link } from '../../distributed/link.ts';
import { serializeError } from '../../distributed/serialized-error.ts';
import type { WorkerScript } from '../../distributed/worker-scripts.ts';
import { ArgumentError, OutOfMemoryError } from '../../errors.ts';
import type { ProcessRanks, ProcessStart, StagePlace } from '../ranks/process-ranks.ts';
import { RankExecutor } from '../ranks/rank-executor.ts';
import type { RankMessage, RankRequest, RankResult, StepQuestion, StepRequest } from '../ranks/rank-protocol.ts';
import type { Executor } from '../run/executor.ts';
import { LinkedStage } from './linked-stage.ts';

/** Surroundings of a stage in a process that follows another. */
export interface StageHost {
  /** A way to another process. */
  readonly link: (process: number, channel: number) => Link;
  /** The ranks' script. Default: the package's own. */
  readonly script?: WorkerScript | undefined;
}

/**
 * A stage of a model that this process has for another, which has the engine. To that it is one rank, however many threads
 * share it. Activations do not go through the engine's process, but straight from stage to stage.
 */
export class HostedStage implements ProcessRanks {
  readonly own = { first: 0, count: 1 };
  readonly #host: StageHost;
  readonly #onMessage: (message: RankMessage) => void;
  readonly #stage: Promise<Executor>;
  /** Questions about files that the engine's process reads. */
  readonly #questions = new Map<number, (answer: FileAnswer) => void>();
  #asked = 0;

  constructor(start: ProcessStart, place: StagePlace, onMessage: (message: RankMessage) => void, host: StageHost) {
    this.#host = host;
    this.#onMessage = onMessage;
    this.#stage = this.#load(start, place);
    this.#stage.catch((error: unknown) => this.#fail(error));
  }

  post(_rank: number, request: RankRequest): void {
    if (request.type !== 'answer') return;
    this.#questions.get(request.id)?.(request.answer);
    this.#questions.delete(request.id);
  }

  ask({ id, ...question }: StepRequest): void {
    const answer = this.#stage.then((stage) => carryOut(stage, question));
    answer.then(
      (result) => this.#onMessage({ type: 'result', id, result }),
      (error) => {
        if (!(error instanceof OutOfMemoryError)) return this.#fail(error);
        this.#onMessage({ type: 'result', id, result: { outOfMemory: serializeError(error) } });
      },
    );
  }

  /** The executor of its ranks releases and resets them by itself. */
  fail(): void {}

  reset(): void {}

  async terminate(): Promise<void> {
    const stage = await this.#stage.catch(() => undefined);
    await stage?.dispose();
  }

  async #load({ source, options }: ProcessStart, place: StagePlace): Promise<Executor> {
    const { link, script } = this.#host;
    const executor = await RankExecutor.start(
      { source, files: locationOf(source, (question) => this.#ask(question)) },
      place.numRanks,
      options,
      { workers: { rank: script } },
    );
    const { stateFootprint, samplesTokens, maxBatchedTokens, promptAlignment, failed } = executor;
    this.#onMessage({ type: 'ready', stateFootprint, samplesTokens, maxBatchedTokens, promptAlignment });
    failed.then((error) => this.#fail(error));
    const to = (process: number | undefined) => (process === undefined ? undefined : link(process, place.channel));
    return new LinkedStage(executor, { ...place, before: to(place.before), after: to(place.after) });
  }

  #ask(question: FileQuestion): Promise<FileAnswer> {
    return new Promise((resolve) => {
      const id = this.#asked++;
      this.#questions.set(id, resolve);
      this.#onMessage({ type: 'question', id, question });
    });
  }

  #fail(error: unknown): void {
    this.#onMessage({ type: 'error', error: serializeError(error) });
  }
}

/** Files that the engine's process reads for this one, where the source says so. */
function locationOf(source: unknown, ask: (question: FileQuestion) => Promise<FileAnswer>): RemoteFiles | undefined {
  const isRead = typeof source === 'object' && source !== null && 'files' in source && typeof source.files === 'string';
  return isRead ? new RemoteFiles(source.files as string, ask) : undefined;
}

async function carryOut(stage: Executor, question: StepQuestion): Promise<RankResult> {
  switch (question.type) {
    case 'execute':
      return { step: await stage.execute(question.batch) };
    case 'guess': {
      if (!stage.guess) throw new ArgumentError('This stage guesses no tokens.', 'Ask the last stage.');
      return { guesses: await stage.guess(question.batch) };
    }
    case 'exportState':
      return { stateParts: [{ offset: 0, values: await stage.exportState(question.place) }] };
    case 'importState':
      await stage.importState(question.place, question.state);
      return {};
  }
}
