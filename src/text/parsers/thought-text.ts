import { MarkerSearch } from './marker-search.ts';

/** Thoughts that an answer may begin with. */
export interface ThoughtMarkers {
  readonly begin: string;
  readonly end: string;
  /** Whether the answer begins inside thoughts; undefined: it may open them. */
  readonly isOpen: boolean | undefined;
}

/** Tells thoughts, up to and with their end marker, from the rest of a text that grows. All of the text is kept. */
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

  /** The next part of the text, cut where thoughts end. Text that may open thoughts waits for the next call. */
  push(text: string): { readonly thoughts: string; readonly rest: string } {
    if (this.#place === 'rest') return { thoughts: '', rest: text };
    if (this.#place === 'start') {
      this.#start += text;
      const trimmed = this.#start.trimStart();
      if (trimmed.length < this.#begin.length && this.#begin.startsWith(trimmed)) return { thoughts: '', rest: '' };
      const opens = trimmed.startsWith(this.#begin);
      this.#place = opens ? 'thoughts' : 'rest';
      const whole = this.flush();
      return opens ? this.push(whole) : { thoughts: '', rest: whole };
    }
    for (let i = 0; i < text.length; i++) {
      if (this.#search.push(text[i]).marker === undefined) continue;
      this.#place = 'rest';
      return { thoughts: text.slice(0, i + 1), rest: text.slice(i + 1) };
    }
    return { thoughts: text, rest: '' };
  }

  /** Text that waits. */
  flush(): string {
    const start = this.#start;
    this.#start = '';
    return start;
  }
}
