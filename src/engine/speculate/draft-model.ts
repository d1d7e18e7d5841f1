import { GREEDY } from '../../backends/contract/sampling.ts';
import { asError } from '../../util/as-error.ts';
import type { Executor, ScheduledTokens, StateCommand } from '../run/executor.ts';
import { likeliest } from '../run/guess-tokens.ts';
import { BlockPool } from '../state/block-pool.ts';
import { MadeDrafts } from './made-drafts.ts';
import type { Drafter, DraftRequest, DraftSource } from './speculation.ts';

/** An answer as the draft model knows it. */
interface DraftedText {
  /** Slot of the state after tokens that are certain, and slot in which guesses are made from a copy of it. */
  readonly slots: readonly [certain: number, guessing: number];
  /** Tokens whose effect is in the first slot. */
  numComputedTokens: number;
  /** KV-cache blocks of both: guesses lie after what is certain, and are overwritten by it. */
  blocks: readonly number[];
}

/** A request with its text. */
interface Drafting extends DraftRequest {
  readonly text: DraftedText;
}

export interface DraftModelOptions {
  /** Runs the model. It has two slots for each answer. */
  readonly executor: Executor;
  readonly slots: number;
  /** Tokens of a step. */
  readonly maxNumBatchedTokens: number;
  readonly vocabSize: number;
  /** Called once, when the model has failed before it was disposed of: no tokens are guessed any more. */
  readonly onFailure: (error: Error) => void;
}

/** A small model that guesses what a large one will say: greedily, one step for each token of a guess. */
export class DraftModel implements DraftSource {
  readonly #options: DraftModelOptions;
  readonly #pool: BlockPool;
  readonly #freeSlots: (readonly [number, number])[];
  /** The least recently used first. */
  readonly #texts = new Map<Drafter, DraftedText>();
  readonly #drafts = new MadeDrafts();
  #hasFailed = false;
  #disposal: Promise<void> | undefined;

  constructor(options: DraftModelOptions) {
    const { numBlocks = 0, blockSize = 1 } = options.executor.stateFootprint.kvCache ?? {};
    this.#options = options;
    this.#pool = new BlockPool(numBlocks, blockSize);
    this.#freeSlots = Array.from({ length: Math.floor(options.slots / 2) }, (_, i) => [2 * i, 2 * i + 1] as const);
  }

  /** A drafter for one answer, which has what was {@link prepare}d for it. */
  open(): Drafter {
    return this.#drafts.open(() => this.#hasFailed);
  }

  /**
   * Makes guesses, as far as the model has processed the texts before: a long one takes several calls. Never rejects.
   */
  async prepare(requests: readonly DraftRequest[]): Promise<void> {
    if (this.#hasFailed || requests.length === 0) return;
    try {
      await this.#prepare(requests);
    } catch (error) {
      if (!this.#disposal) this.#fail(asError(error));
    }
  }

  async dispose(): Promise<void> {
    this.#hasFailed = true;
    this.#disposal ??= this.#options.executor.dispose();
    await this.#disposal;
  }

  /** Frees the model's memory, and says why. */
  #fail(failure: Error): void {
    // The model has failed already: a second failure, while it is disposed of, tells nothing more.
    this.dispose().catch(() => {});
    this.#texts.clear();
    try {
      this.#options.onFailure(failure);
    } catch (error) {
      // The receiver's error is its own: answers continue without guesses.
      // biome-ignore lint/suspicious/noConsole: there is no caller to throw it at.
      console.error('A receiver of warnings failed:', error);
    }
  }

  async #prepare(requests: readonly DraftRequest[]): Promise<void> {
    const current = new Set(requests.map(({ drafter }) => drafter));
    const drafting = requests.flatMap((request): Drafting[] => {
      const text = this.#textOf(request, current);
      return text ? [{ ...request, text }] : [];
    });
    const { maxNumBatchedTokens } = this.#options;
    let budget = Math.min(maxNumBatchedTokens, this.#options.executor.maxBatchedTokens ?? maxNumBatchedTokens);
    const caughtUp: Drafting[] = [];
    const sequences: ScheduledTokens[] = [];
    for (const each of drafting) {
      const { text, tokenIds } = each;
      const { slots, numComputedTokens, blocks } = text;
      const taken = tokenIds.slice(numComputedTokens, numComputedTokens + budget);
      if (taken.length === 0) continue;
      sequences.push({ slot: slots[0], blocks, numComputedTokens, tokenIds: taken, sampling: this.#sampling });
      budget -= taken.length;
      text.numComputedTokens += taken.length;
      caughtUp.push(each);
    }
    const first = await this.#step([], sequences);
    const begun = caughtUp
      .map((each, i) => ({ ...each, guess: [first[i]] }))
      .filter(({ text, tokenIds }) => text.numComputedTokens === tokenIds.length);
    await this.#continue(begun);
    for (const { drafter, tokenIds, guess } of begun) {
      this.#drafts.put(drafter, tokenIds.length, guess);
    }
  }

  /** Adds further tokens to guesses that have their first. */
  async #continue(begun: readonly (Drafting & { readonly guess: number[] })[]): Promise<void> {
    for (let made = 1; ; made++) {
      const unfinished = begun.filter(({ count }) => count > made);
      if (unfinished.length === 0) return;
      const copies = unfinished.map(
        ({ text: { slots } }): StateCommand => ({ type: 'copy', from: slots[0], to: slots[1] }),
      );
      const sequences = unfinished.map(
        ({ text, guess }): ScheduledTokens => ({
          slot: text.slots[1],
          blocks: text.blocks,
          numComputedTokens: text.numComputedTokens + made - 1,
          tokenIds: guess.slice(-1),
          sampling: this.#sampling,
        }),
      );
      const next = await this.#step(made === 1 ? copies : [], sequences);
      for (const [i, { guess }] of unfinished.entries()) guess.push(next[i]);
    }
  }

  /** The likeliest token after each sequence. */
  async #step(commands: readonly StateCommand[], sequences: readonly ScheduledTokens[]): Promise<number[]> {
    if (sequences.length === 0) return [];
    const { executor, vocabSize } = this.#options;
    const { logits, sampled } = await executor.execute({ commands, sequences, logits: 'last' });
    if (sampled && this.#sampling) return sequences.map((_, i) => Math.max(0, sampled[2 * i]));
    const tokens = sequences.map((_, i) => likeliest(logits.subarray(i * vocabSize, (i + 1) * vocabSize)));
    executor.recycle?.(logits);
    return tokens;
  }

  get #sampling(): ScheduledTokens['sampling'] {
    return this.#options.executor.samplesTokens ? [GREEDY] : undefined;
  }

  /**
   * The text of a request, with blocks for it and its guess. Undefined: there is no room.
   * @param current those that keep their room.
   */
  #textOf({ drafter, tokenIds, count }: DraftRequest, current: ReadonlySet<Drafter>): DraftedText | undefined {
    const known = this.#texts.get(drafter);
    const text = known ?? this.#newText(current);
    if (!text) return undefined;
    this.#texts.delete(drafter);
    this.#texts.set(drafter, text);
    const missing = this.#pool.blocksFor(tokenIds.length + count) - text.blocks.length;
    if (missing <= 0) return text;
    for (;;) {
      const blocks = this.#pool.take(missing);
      if (blocks) {
        text.blocks = [...text.blocks, ...blocks];
        return text;
      }
      if (!this.#dropOldest(current)) return undefined;
    }
  }

  #newText(current: ReadonlySet<Drafter>): DraftedText | undefined {
    if (this.#freeSlots.length === 0) this.#dropOldest(current);
    const slots = this.#freeSlots.pop();
    return slots && { slots, numComputedTokens: 0, blocks: [] };
  }

  /** Forgets the answer that has asked for nothing for the longest. @returns false if all others ask now. */
  #dropOldest(current: ReadonlySet<Drafter>): boolean {
    for (const [drafter, { slots, blocks }] of this.#texts) {
      if (current.has(drafter)) continue;
      this.#texts.delete(drafter);
      this.#freeSlots.push(slots);
      this.#pool.release(blocks);
      return true;
    }
    return false;
  }
}
