import { MarkerSearch } from './marker-search.ts';

/** Thoughts that an answer may begin with. */
export interface ThoughtMarkers {
  readonly begin: string;
  readonly end: string;
  /** Whether the answer begins inside thoughts; undefined: it may open them. */
  readonly isOpen: boolean | undefined;
}

/** A part of a text: together these are all of it, in this order. */
export interface ThoughtParts {
  /** The marker that opens thoughts, with the space before it. */
  readonly begin: string;
  readonly thoughts: string;
  /** The marker that ends thoughts. */
  readonly end: string;
  readonly rest: string;
}

const NOTHING: ThoughtParts = { begin: '', thoughts: '', end: '', rest: '' };

/** Tells thoughts, and the markers around them, from the rest of a text that grows. */
export class ThoughtText {
  readonly #begin: string;
  readonly #search: MarkerSearch;
  #place: 'start' | 'thoughts' | 'rest';
  /** Beginning of the text, while it may become the begin marker. */
  #start = '';

  constructor({ begin, end, isOpen }: ThoughtMarkers) {
    this.#begin = begin;
    this.#search = new MarkerSearch([end]);
    this.#place = isOpen === undefined ? 'start' : isOpen ? 'thoughts' : 'rest';
  }

  /** Whether the text ends inside thoughts. */
  get isThinking(): boolean {
    return this.#place === 'thoughts';
  }

  /** Whether thoughts may still begin, or have not ended. */
  get mayThink(): boolean {
    return this.#place !== 'rest';
  }

  /** The next part of the text. What may be the beginning of a marker waits for the next call. */
  push(text: string): ThoughtParts {
    if (this.#place === 'rest') return { ...NOTHING, rest: text };
    return this.#place === 'start' ? this.#open(text) : this.#think(text);
  }

  /** Text that waits. */
  flush(): ThoughtParts {
    const start = this.#start;
    this.#start = '';
    return { ...NOTHING, thoughts: this.#search.flush(), rest: start };
  }

  #open(text: string): ThoughtParts {
    const start = this.#start + text;
    const trimmed = start.trimStart();
    const mayOpen = trimmed.length < this.#begin.length && this.#begin.startsWith(trimmed);
    this.#start = mayOpen ? start : '';
    if (mayOpen) return NOTHING;
    const opens = trimmed.startsWith(this.#begin);
    this.#place = opens ? 'thoughts' : 'rest';
    if (!opens) return { ...NOTHING, rest: start };
    const thoughts = trimmed.slice(this.#begin.length);
    return { ...this.#think(thoughts), begin: start.slice(0, start.length - thoughts.length) };
  }

  #think(text: string): ThoughtParts {
    let thoughts = '';
    for (let i = 0; i < text.length; i++) {
      const { text: certain, marker: end } = this.#search.push(text[i]);
      thoughts += certain;
      if (end === undefined) continue;
      this.#place = 'rest';
      return { ...NOTHING, thoughts, end, rest: text.slice(i + 1) };
    }
    return { ...NOTHING, thoughts };
  }
}
