import type { DeltaList } from './answer-delta.ts';
import { MarkerSearch } from './marker-search.ts';

/** How a family of models writes its thoughts, which come before the answer. */
export interface ReasoningDialect {
  /** Name for `--reasoning-parser`. */
  readonly name: string;
  readonly begin: string;
  readonly end: string;
  /** Whether an answer begins with thoughts although neither the prompt nor the answer opens them. */
  readonly isOpen?: boolean;
}

const SPACE = /\s/;

/**
 * Splits the thoughts off an answer while it grows: those that the prompt opens, or the answer's own beginning. Space
 * around thoughts is left out. The rest goes to `next`, character by character.
 */
export class ReasoningParser {
  readonly #begin: string;
  readonly #deltas: DeltaList;
  readonly #next: (text: string) => void;
  readonly #search: MarkerSearch;
  #place: 'start' | 'thoughts' | 'afterThoughts' | 'answer';
  /** Space that is part of the answer or the thoughts only if more of them follows. */
  #space = '';
  /** Beginning of an answer that may become the begin marker. */
  #start = '';
  #hasThoughts = false;

  /** @param isOpen whether the answer begins inside thoughts; undefined: it may open them. */
  constructor(
    { begin, end }: ReasoningDialect,
    isOpen: boolean | undefined,
    deltas: DeltaList,
    next: (text: string) => void,
  ) {
    this.#begin = begin;
    this.#search = new MarkerSearch([end]);
    this.#deltas = deltas;
    this.#next = next;
    this.#place = isOpen === undefined ? 'start' : isOpen ? 'thoughts' : 'answer';
  }

  /** Whether the answer is inside thoughts. */
  get isThinking(): boolean {
    return this.#place === 'thoughts';
  }

  push(text: string): void {
    if (this.#place === 'answer') this.#next(text);
    else for (const char of text) this.#pushChar(char);
  }

  flush(): void {
    if (this.#place === 'start') this.#answer();
    if (this.#place === 'thoughts') this.#think(this.#search.flush());
  }

  #pushChar(char: string): void {
    switch (this.#place) {
      case 'start':
        if (this.#start === '' && SPACE.test(char)) {
          this.#space += char;
          return;
        }
        this.#start += char;
        if (this.#start === this.#begin) this.#enterThoughts();
        else if (!this.#begin.startsWith(this.#start)) this.#answer();
        return;
      case 'thoughts': {
        const { text, marker } = this.#search.push(char);
        this.#think(text);
        if (marker === undefined) return;
        this.#space = '';
        this.#place = 'afterThoughts';
        return;
      }
      case 'afterThoughts':
        if (SPACE.test(char)) return;
        this.#place = 'answer';
        this.#next(char);
        return;
      case 'answer':
        this.#next(char);
    }
  }

  #enterThoughts(): void {
    this.#place = 'thoughts';
    this.#space = '';
    this.#start = '';
  }

  /** What came so far opens no thoughts. */
  #answer(): void {
    this.#place = 'answer';
    this.#next(this.#space + this.#start);
  }

  #think(text: string): void {
    for (const char of text) {
      if (SPACE.test(char)) {
        this.#space += char;
        continue;
      }
      // An opening that the prompt has already is not a thought.
      const space = this.#hasThoughts ? this.#space : '';
      this.#space = '';
      this.#hasThoughts = true;
      this.#deltas.push({ type: 'reasoning', text: space + char });
    }
  }
}
