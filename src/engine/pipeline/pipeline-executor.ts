import { ArgumentError, OutOfMemoryError } from '../../errors.ts';
import {
  type Batch,
  type Executor,
  exportedLength,
  type GuessBatch,
  type LogDecays,
  type StateFootprint,
  type StatePlace,
  type StepOutput,
} from '../run/executor.ts';
import { checkStateLength } from '../run/state-cache.ts';

/**
 * A model whose layers several stages hold. Each step goes through all of them, and as many steps as there are stages can
 * be under way at once. The stages exchange activations by themselves; tokens go to all, logits come from the last.
 */
export class PipelineExecutor implements Executor {
  readonly stateFootprint: StateFootprint;
  readonly maxBatchedTokens: number;
  readonly promptAlignment: number;
  /** The first stage would need the tokens that the last one chose. */
  readonly samplesTokens = false;
  readonly maxConcurrentBatches: number;
  readonly failed: Promise<Error>;
  readonly #stages: readonly Executor[];
  /** Steps whose stages have not all answered. */
  readonly #running = new Set<Promise<unknown>>();

  /** @param stages in the order of their layers. */
  constructor(stages: readonly Executor[]) {
    this.#stages = stages;
    this.stateFootprint = totalFootprint(stages.map(({ stateFootprint }) => stateFootprint));
    this.maxBatchedTokens = Math.min(
      ...stages.map(({ maxBatchedTokens = Number.POSITIVE_INFINITY }) => maxBatchedTokens),
    );
    // Stages are backends of one kind.
    this.promptAlignment = Math.max(...stages.map(({ promptAlignment = 1 }) => promptAlignment));
    this.maxConcurrentBatches = stages.length;
    this.failed = Promise.race(stages.flatMap(({ failed }) => failed ?? []));
  }

  async execute(batch: Batch): Promise<StepOutput> {
    const steps = await this.#all(this.#stages.map((stage) => stage.execute(batch)));
    const logDecays = joinLogDecays(
      steps.flatMap(({ logDecays }) => logDecays ?? []),
      batch,
    );
    return { logits: steps[steps.length - 1].logits, logDecays };
  }

  /** The last stage guesses; the commands are for all. */
  async guess(batch: GuessBatch): Promise<Int32Array<ArrayBuffer>> {
    const before = this.#stages.slice(0, -1);
    const { commands } = batch;
    const last = this.#stages[this.#stages.length - 1].guess?.(batch);
    if (!last) throw new ArgumentError('The last stage guesses no tokens.', 'Use another speculativeConfig.method.');
    const taken = before.map((stage) =>
      stage.execute({ commands, sequences: [], logits: 'last' }).then(() => undefined),
    );
    const [guesses] = await this.#all<Int32Array<ArrayBuffer> | undefined>([last, ...taken]);
    return guesses ?? new Int32Array();
  }

  recycle(logits: Float32Array<ArrayBuffer>): void {
    this.#stages[this.#stages.length - 1].recycle?.(logits);
  }

  async exportState(place: StatePlace): Promise<Float32Array<ArrayBuffer>> {
    const parts = await Promise.all(this.#stages.map((stage) => stage.exportState(place)));
    const whole = new Float32Array(exportedLength(this.stateFootprint, place));
    for (const [i, { from, to, length }] of this.#runs(place)) {
      whole.set(parts[i].subarray(from, from + length), to);
    }
    return whole;
  }

  async importState(place: StatePlace, state: Float32Array): Promise<void> {
    checkStateLength(state, this.stateFootprint, place);
    const parts = this.#stages.map(({ stateFootprint }) => new Float32Array(exportedLength(stateFootprint, place)));
    for (const [i, { from, to, length }] of this.#runs(place)) {
      parts[i].set(state.subarray(to, to + length), from);
    }
    await Promise.all(this.#stages.map((stage, i) => stage.importState(place, parts[i])));
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#stages.map((stage) => stage.dispose()));
  }

  /** The answers of all stages to one request. Rejects with OutOfMemoryError where memory was missing in one of them. */
  async #all<T>(asked: readonly Promise<T>[]): Promise<T[]> {
    const answers = Promise.all(asked.map(unlessOutOfMemory));
    this.#running.add(answers);
    answers.finally(() => this.#running.delete(answers)).catch(() => {});
    const outputs = await answers;
    const problem = outputs.find((output) => output instanceof OutOfMemoryError);
    if (problem instanceof OutOfMemoryError) {
      // Steps that were begun later are lost as well. Once all have ended, one reset serves for all.
      await Promise.allSettled(this.#running);
      throw problem;
    }
    return outputs.flatMap((output) => (output instanceof OutOfMemoryError ? [] : [output]));
  }

  /** Each stage's runs in a whole state: first the states of all stages, then their keys and values. */
  *#runs({ id, length: numTokens }: StatePlace): Iterable<readonly [stage: number, run: StateRun]> {
    const stateLength = (footprint: StateFootprint) => (id === undefined ? 0 : footprint.length);
    let to = 0;
    for (const [i, { stateFootprint }] of this.#stages.entries()) {
      const length = stateLength(stateFootprint);
      yield [i, { from: 0, to, length }];
      to += length;
    }
    for (const [i, { stateFootprint }] of this.#stages.entries()) {
      const length = numTokens * (stateFootprint.kvCache?.tokenLength ?? 0);
      yield [i, { from: stateLength(stateFootprint), to, length }];
      to += length;
    }
  }
}

/** A run of numbers: where it begins in a stage's state, and in the whole. */
interface StateRun {
  readonly from: number;
  readonly to: number;
  readonly length: number;
}

async function unlessOutOfMemory<T>(step: Promise<T>): Promise<T | OutOfMemoryError> {
  try {
    return await step;
  } catch (error) {
    if (error instanceof OutOfMemoryError) return error;
    throw error;
  }
}

/** All stages have as many blocks; those without attention need no memory for them. */
function totalFootprint(footprints: readonly StateFootprint[]): StateFootprint {
  return footprints.reduce((total, { bytes, length, kvCache }) => ({
    bytes: total.bytes + bytes,
    length: total.length + length,
    kvCache:
      total.kvCache && kvCache
        ? {
            ...kvCache,
            blockBytes: total.kvCache.blockBytes + kvCache.blockBytes,
            tokenLength: total.kvCache.tokenLength + kvCache.tokenLength,
          }
        : (total.kvCache ?? kvCache),
  }));
}

/** The decays of all stages' layers, for each watched sequence one after the other. */
function joinLogDecays(parts: readonly LogDecays[], { sequences }: Batch): LogDecays | undefined {
  if (parts.length === 0) return undefined;
  const watched = sequences.filter(({ watch }) => watch).length;
  const heads = parts.flatMap((part) => part.heads);
  const sums = new Float32Array(watched * heads.reduce((sum, count) => sum + count, 0));
  let to = 0;
  for (let sequence = 0; sequence < watched; sequence++) {
    for (const part of parts) {
      const width = part.sums.length / watched;
      sums.set(part.sums.subarray(sequence * width, (sequence + 1) * width), to);
      to += width;
    }
  }
  return { heads, sums };
}
