import type { DeltaList } from './answer-delta.ts';
import { type ThoughtMarkers, type ThoughtParts, ThoughtText } from './thought-text.ts';

/** How a family of models writes its thoughts, which come before the answer. */
export interface ReasoningDialect {
  /** Name for `--reasoning-parser`. */
  readonly name: string;
  readonly begin: string;
  readonly end: string;
  /** Whether an answer begins with thoughts although neither the prompt nor the answer opens them. */
  readonly isOpen?: boolean;
}

/** Splits the thoughts off an answer while it grows. Space around thoughts is left out. The rest goes to `next`. */
export class ReasoningParser {
  readonly #text: ThoughtText;
  readonly #deltas: DeltaList;
  readonly #next: (text: string) => void;
  /** Space that is part of the thoughts only if more of them follows. */
  #space = '';
  #hasThoughts = false;
  /** Whether the answer has yet to begin after thoughts. */
  #isAfterThoughts = false;

  constructor(markers: ThoughtMarkers, deltas: DeltaList, next: (text: string) => void) {
    this.#text = new ThoughtText(markers);
    this.#deltas = deltas;
    this.#next = next;
  }

  /** Whether the answer is inside thoughts. */
  get isThinking(): boolean {
    return this.#text.isThinking;
  }

  push(text: string): void {
    this.#take(this.#text.push(text));
  }

  flush(): void {
    this.#take(this.#text.flush());
  }

  #take({ thoughts, end, rest }: ThoughtParts): void {
    this.#think(thoughts);
    if (end !== '') this.#isAfterThoughts = true;
    const answer = this.#isAfterThoughts ? rest.trimStart() : rest;
    if (answer === '') return;
    this.#isAfterThoughts = false;
    this.#next(answer);
  }

  #think(text: string): void {
    const thoughts = this.#space + text;
    const known = this.#hasThoughts ? thoughts : thoughts.trimStart();
    const certain = known.trimEnd();
    this.#space = known.slice(certain.length);
    if (certain === '') return;
    this.#hasThoughts = true;
    this.#deltas.push({ type: 'reasoning', text: certain });
  }
}
