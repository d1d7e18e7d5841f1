import { LAST_SAMPLED } from '../../src/backends/contract/sampling.ts';
import type {
  Batch,
  Executor,
  ScheduledTokens,
  StateCommand,
  StateFootprint,
  StatePlace,
  StepOutput,
} from '../../src/engine/run/executor.ts';
import { OutOfMemoryError } from '../../src/errors.ts';

export const FAKE_VOCAB = 16;

/** Blocks of the fake model's key-value cache. */
export interface FakeBlocks {
  readonly numBlocks: number;
  readonly blockSize: number;
}

/**
 * An executor whose model is a hash: logits follow from all tokens that a slot has seen, so a sequence that got a wrong
 * state, a wrong slot or wrong tokens gives another text. With blocks they follow from all that lies in these, too, as in
 * a hybrid. After a token t its one head remembers for t + 1 tokens. It refuses what a real one would. Where it samples, it
 * does so greedily.
 */
export class FakeExecutor implements Executor {
  readonly stateFootprint: StateFootprint;
  readonly batches: Batch[] = [];
  isDisposed = false;
  /** What the next step rejects with. */
  failure: Error | undefined;
  /** As if the ranks had died. */
  readonly die: (error: Error) => void;
  readonly failed: Promise<Error>;
  /** Tokens of a step for which there is memory. */
  mostTokens = Number.POSITIVE_INFINITY;
  /** Snapshots for which there is. */
  mostSnapshots = Number.POSITIVE_INFINITY;
  #lost: OutOfMemoryError | undefined;
  readonly samplesTokens: boolean;
  readonly maxConcurrentBatches: number;
  /** Steps with tokens that are under way, and the most that ever were. */
  underWay = 0;
  mostUnderWay = 0;
  /** The token sampled last for each slot; -1: it was the sequence's last. */
  readonly #sampled: number[] = [];
  readonly #slots: (number | undefined)[];
  /** Tokens that came last to slots without changing their states. */
  readonly #tentative = new Map<number, readonly number[]>();
  readonly #snapshots = new Map<number, number>();
  readonly #blockSize: number;
  /** One value per token. */
  readonly #blocks: number[][];
  #last: Promise<unknown> = Promise.resolve();

  constructor(slots: number, blocks?: FakeBlocks, samplesTokens = false, maxConcurrentBatches = 1) {
    this.samplesTokens = samplesTokens;
    this.maxConcurrentBatches = maxConcurrentBatches;
    let report = (_: Error) => {};
    this.failed = new Promise((resolve) => {
      report = resolve;
    });
    this.die = (error) => {
      this.failure ??= error;
      report(this.failure);
    };
    // What a former owner left.
    this.#slots = Array.from({ length: slots }, (_, i) => 1000 + i);
    const { numBlocks = 0, blockSize = 1 } = blocks ?? {};
    this.#blockSize = blockSize;
    this.#blocks = Array.from({ length: numBlocks }, (_, i) => new Array(blockSize).fill(2000 + i));
    const kvCache = blocks && { ...blocks, blockBytes: 4 * blockSize, tokenLength: 1 };
    this.stateFootprint = { bytes: 4, length: 1, kvCache };
  }

  get snapshots(): number {
    return this.#snapshots.size;
  }

  execute(batch: Batch): Promise<StepOutput> {
    this.batches.push(batch);
    const isStep = batch.sequences.length > 0;
    if (isStep) this.mostUnderWay = Math.max(this.mostUnderWay, ++this.underWay);
    return this.#inTurn(() => {
      if (isStep) this.underWay--;
      if (batch.commands?.[0]?.type === 'reset') this.#lost = undefined;
      if (this.#lost) throw this.#lost;
      try {
        return this.#step(batch);
      } catch (error) {
        if (error instanceof OutOfMemoryError) this.#lost = error;
        throw error;
      }
    });
  }

  exportState({ id, length, blocks }: StatePlace): Promise<Float32Array<ArrayBuffer>> {
    return this.#inTurn(() => {
      const keys = blocks.flatMap((block) => this.#blocks[block]).slice(0, length);
      return Float32Array.of(...(id === undefined ? [] : [this.#saved(id)]), ...keys);
    });
  }

  importState({ id, blocks }: StatePlace, state: Float32Array): Promise<void> {
    return this.#inTurn(() => {
      if (id !== undefined) this.#snapshots.set(id, state[0]);
      for (const [i, value] of state.subarray(id === undefined ? 0 : 1).entries()) {
        this.#blocks[blocks[Math.floor(i / this.#blockSize)]][i % this.#blockSize] = value;
      }
    });
  }

  async dispose(): Promise<void> {
    this.isDisposed = true;
    this.failure ??= new Error('disposed');
  }

  /** Takes a turn of the event loop, as a real step does: requests come and go meanwhile. */
  #inTurn<T>(run: () => T): Promise<T> {
    const turn = this.#last.then(async () => {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.failure) throw this.failure;
      return run();
    });
    this.#last = turn.catch(() => {});
    return turn;
  }

  #step(batch: Batch): StepOutput {
    for (const command of batch.commands ?? []) this.#run(command);
    const numTokens = batch.sequences.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
    if (numTokens > this.mostTokens || this.#snapshots.size > this.mostSnapshots) {
      this.#slots.fill(Number.NaN);
      throw new OutOfMemoryError(`No memory for ${numTokens} tokens and ${this.#snapshots.size} snapshots.`);
    }
    const used = new Set<number>();
    const written = new Set<number>();
    const rows: number[] = [];
    const decays: number[] = [];
    const sampled: number[] = [];
    for (const scheduled of batch.sequences) {
      const sequence = this.#known(scheduled);
      const { slot, numComputedTokens, tokenIds, logits, watch, sampling, givesLogits } = sequence;
      if (used.has(slot) || slot < 0 || slot >= this.#slots.length) throw new Error(`slot ${slot} is used twice`);
      if (tokenIds.length === 0) throw new Error('a sequence without tokens');
      used.add(slot);
      if (tokenIds[0] < 0) {
        sampled.push(0, 0);
        continue;
      }
      let state = numComputedTokens === 0 ? 7 : (this.#slots[slot] ?? Number.NaN);
      for (const [i, tokenId] of tokenIds.entries()) {
        state = nextState(state, tokenId);
        this.#write(sequence, numComputedTokens + i, state, written);
        if ((logits ?? batch.logits) !== 'all' && i < tokenIds.length - 1) continue;
        const row = logitsOf(this.#attend(sequence, state, numComputedTokens + i + 1));
        if (!sampling || givesLogits) rows.push(...row);
        if (!sampling) continue;
        const [{ endTokenIds }] = sampling;
        const next = likeliest(row);
        // No step may continue from what was chosen where tokens are tentative.
        const isKept = !batch.sequences.some(({ isTentative }) => isTentative) && !endTokenIds.includes(next);
        this.#sampled[slot] = isKept ? next : -1;
        sampled.push(next, 0);
      }
      this.#tentative.delete(slot);
      if (sequence.isTentative) this.#tentative.set(slot, tokenIds);
      else this.#slots[slot] = state;
      for (const block of sequence.blocks ?? []) written.add(block);
      if (watch) decays.push(tokenIds.reduce((sum, tokenId) => sum - Math.LN2 / (tokenId + 1), 0));
    }
    return {
      logits: Float32Array.from(rows),
      sampled: Float32Array.from(sampled),
      ...(decays.length > 0 && { logDecays: { heads: [1], sums: Float32Array.from(decays) } }),
    };
  }

  /** With the token that it sampled itself; -1 in place of one that was the last. */
  #known(sequence: ScheduledTokens): ScheduledTokens {
    if (sequence.tokenIds[0] !== LAST_SAMPLED) return sequence;
    if (!this.samplesTokens) throw new Error('it samples no tokens');
    return { ...sequence, tokenIds: [this.#sampled[sequence.slot] ?? Number.NaN] };
  }

  #run(command: StateCommand): void {
    switch (command.type) {
      case 'copy':
        this.#slots[command.to] = this.#slots[command.from];
        break;
      case 'save':
        if (this.#snapshots.has(command.snapshot)) throw new Error(`snapshot ${command.snapshot} is taken twice`);
        this.#snapshots.set(command.snapshot, this.#slots[command.slot] ?? Number.NaN);
        break;
      case 'load':
        this.#slots[command.slot] = this.#saved(command.snapshot);
        break;
      case 'release':
        this.#saved(command.snapshot);
        this.#snapshots.delete(command.snapshot);
        break;
      case 'reset':
        this.#snapshots.clear();
        break;
      case 'advance': {
        const { slot, numTokens } = command;
        const tentative = this.#tentative.get(slot) ?? [];
        if (numTokens > tentative.length) throw new Error(`slot ${slot} has no ${numTokens} tentative tokens`);
        this.#slots[slot] = tentative.slice(0, numTokens).reduce(nextState, this.#slots[slot] ?? Number.NaN);
        this.#tentative.delete(slot);
        break;
      }
      case 'copyBlock':
        this.#blocks[command.to] = [...this.#blocks[command.from]];
    }
  }

  /** @param others blocks of sequences before this one: none may be written. */
  #write({ blocks = [] }: ScheduledTokens, position: number, state: number, others: ReadonlySet<number>): void {
    if (this.#blocks.length === 0) return;
    const block = blocks[Math.floor(position / this.#blockSize)];
    if (block === undefined || others.has(block)) throw new Error(`position ${position} has no block of its own`);
    this.#blocks[block][position % this.#blockSize] = keyOf(state);
  }

  #attend({ blocks = [] }: ScheduledTokens, state: number, length: number): number {
    if (this.#blocks.length === 0) return state;
    return attention(blocks.flatMap((block) => this.#blocks[block]).slice(0, length), state);
  }

  #saved(snapshot: number): number {
    const state = this.#snapshots.get(snapshot);
    if (state === undefined) throw new Error(`there is no snapshot ${snapshot}`);
    return state;
  }
}

/** What the fake model answers greedily to a prompt. @param isHybrid whether it has blocks. */
export function fakeAnswer(prompt: readonly number[], count: number, isHybrid = false): number[] {
  const keys: number[] = [];
  let state = 7;
  const read = (tokenId: number) => {
    state = nextState(state, tokenId);
    keys.push(keyOf(state));
  };
  prompt.forEach(read);
  return Array.from({ length: count }, () => {
    const tokenId = likeliest(logitsOf(isHybrid ? attention(keys, state) : state));
    read(tokenId);
    return tokenId;
  });
}

function likeliest(logits: readonly number[]): number {
  return logits.indexOf(Math.max(...logits));
}

/** 24 bits, which float32 holds. */
function nextState(state: number, tokenId: number): number {
  return (Math.imul(state ^ (tokenId + 1), 0x9e3779b1) >>> 8) & 0xffffff;
}

function keyOf(state: number): number {
  return nextState(state, 77);
}

/** A mixture of all keys, in their order. */
function attention(keys: readonly number[], state: number): number {
  return keys.reduce(nextState, state);
}

function logitsOf(state: number): number[] {
  return Array.from({ length: FAKE_VOCAB }, (_, id) => ((Math.imul(state + id, 0x85ebca6b) >>> 16) & 0xff) / 32);
}
