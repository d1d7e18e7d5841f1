import type { Drafter } from './speculation.ts';

/** A guess, and the length of the text after which it comes. */
interface MadeDraft {
  readonly length: number;
  readonly tokenIds: readonly number[];
}

/** Guesses that were made before the steps that may take them. */
export class MadeDrafts {
  readonly #drafts = new WeakMap<Drafter, MadeDraft>();

  /** A drafter for one answer, which has what was put for it. @param hasFailed whether none are made any more. */
  open(hasFailed: () => boolean): Drafter {
    const drafter: Drafter = {
      isFree: false,
      get hasFailed() {
        return hasFailed();
      },
      draft: (tokenIds, count) => {
        const made = this.#drafts.get(drafter);
        return made?.length === tokenIds.length ? made.tokenIds.slice(0, count) : [];
      },
    };
    return drafter;
  }

  /** @param length tokens of the text after which the guess comes. */
  put(drafter: Drafter, length: number, tokenIds: readonly number[]): void {
    this.#drafts.set(drafter, { length, tokenIds });
  }
}
