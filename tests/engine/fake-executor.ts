import type { Batch, Executor, StateCommand, StepOutput } from '../../src/engine/executor.ts';

export const FAKE_VOCAB = 16;

/**
 * An executor whose model is a hash: logits follow from all tokens that a slot has seen, so a sequence that got a wrong
 * state, a wrong slot or wrong tokens gives another text. After a token t its one head remembers for t + 1 tokens. It
 * refuses what a real one would.
 */
export class FakeExecutor implements Executor {
  readonly stateFootprint = { bytes: 4, length: 1 };
  readonly batches: Batch[] = [];
  isDisposed = false;
  /** What the next step rejects with. */
  failure: Error | undefined;
  readonly #slots: (number | undefined)[];
  readonly #snapshots = new Map<number, number>();

  constructor(slots: number) {
    // What a former owner left.
    this.#slots = Array.from({ length: slots }, (_, i) => 1000 + i);
  }

  get snapshots(): number {
    return this.#snapshots.size;
  }

  async execute(batch: Batch): Promise<StepOutput> {
    this.batches.push(batch);
    // Several turns of the event loop, as a real step takes: requests come and go meanwhile.
    await new Promise((resolve) => setImmediate(resolve));
    if (this.failure) throw this.failure;
    for (const command of batch.commands ?? []) this.#run(command);
    const used = new Set<number>();
    const rows: number[] = [];
    const decays: number[] = [];
    for (const { slot, numComputedTokens, tokenIds, logits, watch } of batch.sequences) {
      if (used.has(slot) || slot < 0 || slot >= this.#slots.length) throw new Error(`slot ${slot} is used twice`);
      if (tokenIds.length === 0) throw new Error('a sequence without tokens');
      used.add(slot);
      let state = numComputedTokens === 0 ? 7 : (this.#slots[slot] ?? Number.NaN);
      for (const [i, tokenId] of tokenIds.entries()) {
        state = nextState(state, tokenId);
        if ((logits ?? batch.logits) === 'all' || i === tokenIds.length - 1) rows.push(...logitsOf(state));
      }
      this.#slots[slot] = state;
      if (watch) decays.push(tokenIds.reduce((sum, tokenId) => sum - Math.LN2 / (tokenId + 1), 0));
    }
    return {
      logits: Float32Array.from(rows),
      ...(decays.length > 0 && { logDecays: { heads: [1], sums: Float32Array.from(decays) } }),
    };
  }

  async exportState(snapshot: number): Promise<Float32Array<ArrayBuffer>> {
    return Float32Array.of(this.#saved(snapshot));
  }

  async importState(snapshot: number, state: Float32Array): Promise<void> {
    this.#snapshots.set(snapshot, state[0]);
  }

  async dispose(): Promise<void> {
    this.isDisposed = true;
    this.failure ??= new Error('disposed');
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
    }
  }

  #saved(snapshot: number): number {
    const state = this.#snapshots.get(snapshot);
    if (state === undefined) throw new Error(`there is no snapshot ${snapshot}`);
    return state;
  }
}

/** What the fake model answers greedily to a prompt. */
export function fakeAnswer(prompt: readonly number[], count: number): number[] {
  let state = prompt.reduce(nextState, 7);
  return Array.from({ length: count }, () => {
    const logits = logitsOf(state);
    const tokenId = logits.indexOf(Math.max(...logits));
    state = nextState(state, tokenId);
    return tokenId;
  });
}

/** 24 bits, which float32 holds. */
function nextState(state: number, tokenId: number): number {
  return (Math.imul(state ^ (tokenId + 1), 0x9e3779b1) >>> 8) & 0xffffff;
}

function logitsOf(state: number): number[] {
  return Array.from({ length: FAKE_VOCAB }, (_, id) => ((Math.imul(state + id, 0x85ebca6b) >>> 16) & 0xff) / 32);
}
