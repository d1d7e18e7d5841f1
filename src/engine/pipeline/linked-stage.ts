import type { Link } from '../../distributed/link.ts';
import { ArgumentError } from '../../errors.ts';
import type { Batch, Executor, GuessBatch, StateFootprint, StatePlace, StepOutput } from '../run/executor.ts';

/** A stage's ways to those before and after it. */
export interface StageLinks {
  /** Numbers per token that cross. */
  readonly activationSize: number;
  /** Absent in the first stage. */
  readonly before?: Link | undefined;
  /** Absent in the last. */
  readonly after?: Link | undefined;
}

/**
 * A stage of a model with its links: in each step the activations of the stage before come in, and its own go to the next.
 * They cross the links alone, so the stages need nothing else of each other. What it is asked it carries out in order.
 */
export class LinkedStage implements Executor {
  readonly #executor: Executor;
  readonly #links: StageLinks;
  /** Ends the waiting for activations that will not come. */
  readonly #end = new AbortController();
  #last: Promise<unknown> = Promise.resolve();

  constructor(executor: Executor, links: StageLinks) {
    this.#executor = executor;
    this.#links = links;
  }

  get stateFootprint(): StateFootprint {
    return this.#executor.stateFootprint;
  }

  get maxBatchedTokens(): number | undefined {
    return this.#executor.maxBatchedTokens;
  }

  get promptAlignment(): number | undefined {
    return this.#executor.promptAlignment;
  }

  get failed(): Promise<Error> | undefined {
    return this.#executor.failed;
  }

  execute(batch: Batch): Promise<StepOutput> {
    const rows = batch.sequences.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
    // Asked for now, so that they may come while the step before still runs.
    const received = this.#receive(rows);
    received?.catch(() => {});
    const step = this.#last.then(async () => this.#run({ ...batch, activations: await received }, rows));
    this.#last = step.catch(() => {});
    return step;
  }

  guess(batch: GuessBatch): Promise<Int32Array<ArrayBuffer>> {
    return this.#inTurn(async () => {
      const guesses = await this.#executor.guess?.(batch);
      if (guesses) return guesses;
      throw new ArgumentError('This stage guesses no tokens.', 'Ask the last stage.');
    });
  }

  recycle(logits: Float32Array<ArrayBuffer>): void {
    this.#executor.recycle?.(logits);
  }

  exportState(place: StatePlace): Promise<Float32Array<ArrayBuffer>> {
    return this.#inTurn(() => this.#executor.exportState(place));
  }

  importState(place: StatePlace, state: Float32Array): Promise<void> {
    return this.#inTurn(() => this.#executor.importState(place, state));
  }

  async dispose(): Promise<void> {
    this.#end.abort();
    await this.#executor.dispose();
  }

  async #run(batch: Batch, rows: number): Promise<StepOutput> {
    try {
      const { activations, ...output } = await this.#executor.execute(batch);
      this.#send(activations);
      return output;
    } catch (error) {
      // The next stage expects something; all states are lost, so what it computes from it counts for nothing.
      if (rows > 0) this.#send(new Float32Array(rows * this.#links.activationSize));
      throw error;
    }
  }

  #receive(rows: number): Promise<Float32Array> | undefined {
    const { before, activationSize } = this.#links;
    if (!before || rows === 0) return undefined;
    const activations = new Float32Array(rows * activationSize);
    return before.receive(bytesOf(activations), this.#end.signal).then(() => activations);
  }

  /** Does not wait: the next step runs while these are on their way. A link that is broken shows where they are missed. */
  #send(activations: Float32Array | undefined): void {
    const { after } = this.#links;
    if (after && activations) after.send(bytesOf(activations), this.#end.signal).catch(() => {});
  }

  /** Begins after the steps before it. The steps after it need not wait: the executor keeps the order. */
  #inTurn<T>(ask: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#last = this.#last.then(() => void ask().then(resolve, reject));
    });
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
