import { SamplingParamsError } from '../errors.ts';

/** Text that may be shown, and whether a stop string ended it. */
export interface StopResult {
  readonly text: string;
  readonly stopped: boolean;
  /** The stop string, once one was found. */
  readonly stop?: string | undefined;
}

/** Stop strings, made ready to be looked for. Answers to one request share them. */
export class StopStrings {
  readonly strings: readonly string[];
  /** Per string and length of a beginning of it: the longest shorter beginning that this one ends with. */
  readonly #fallbacks: readonly Int32Array[];

  /** @throws SamplingParamsError on an empty stop string, which would stop everywhere. */
  constructor(strings: readonly string[]) {
    if (strings.includes('')) {
      throw new SamplingParamsError('A stop string is empty, expected at least one character.');
    }
    this.strings = strings;
    this.#fallbacks = strings.map(fallbacksOf);
  }

  /** How much of string `i` the text ends with, after one more character. @param length how much it was before. */
  next(i: number, length: number, character: number): number {
    const string = this.strings[i];
    const fallbacks = this.#fallbacks[i];
    let known = length === string.length ? fallbacks[length] : length;
    while (known > 0 && string.charCodeAt(known) !== character) known = fallbacks[known];
    return string.charCodeAt(known) === character ? known + 1 : 0;
  }

  /** The same without the whole string: how much could still become one. */
  open(i: number, length: number): number {
    return length === this.strings[i].length ? this.#fallbacks[i][length] : length;
  }
}

/**
 * Ends a stream of text in front of the first stop string. Of several the one that starts first counts, however the
 * text is cut into pieces, so what could still become one is held back. Each character is looked at once per string
 * (Knuth, Morris and Pratt's search), so that neither long strings nor texts that almost are one cost more.
 */
export class StopStringMatcher {
  readonly #stops: StopStrings;
  /** How much of each string the text ends with. */
  readonly #lengths: Int32Array;
  #held = '';
  #stopped = false;
  #stop: string | undefined;
  /** The stop string that starts first, and where in what is held. Of several the one named first. */
  #found: { readonly index: number; readonly start: number } | undefined;

  /** @throws SamplingParamsError on an empty stop string. */
  constructor(stops: StopStrings | readonly string[]) {
    this.#stops = stops instanceof StopStrings ? stops : new StopStrings(stops);
    this.#lengths = new Int32Array(this.#stops.strings.length);
  }

  /** Adds text. `stopped` stays true, and `text` empty, once a stop string was found. */
  push(text: string): StopResult {
    if (this.#stopped) return { text: '', stopped: true, stop: this.#stop };
    this.#search(text);
    const open = this.#firstOpen();
    const found = this.#found;
    // Until no string that starts before it can be completed.
    if (found && found.start <= open) return this.#end(found);
    const shown = this.#held.slice(0, open);
    this.#held = this.#held.slice(open);
    if (found) this.#found = { ...found, start: found.start - open };
    return { text: shown, stopped: false, stop: undefined };
  }

  /** What was held back, when no more text follows. It may hold a stop string that waited for a longer one. */
  flush(): StopResult {
    if (this.#found) return this.#end(this.#found);
    const text = this.#held;
    this.#held = '';
    return { text, stopped: this.#stopped, stop: this.#stop };
  }

  #end({ index, start }: { readonly index: number; readonly start: number }): StopResult {
    const text = this.#held.slice(0, start);
    this.#held = '';
    this.#found = undefined;
    this.#stopped = true;
    this.#stop = this.#stops.strings[index];
    return { text, stopped: true, stop: this.#stop };
  }

  #search(text: string): void {
    const begin = this.#held.length;
    this.#held += text;
    for (const [i, { length }] of this.#stops.strings.entries()) {
      let known = this.#lengths[i];
      for (let at = 0; at < text.length; at++) {
        known = this.#stops.next(i, known, text.charCodeAt(at));
        if (known === length) this.#note(i, begin + at + 1 - length);
      }
      this.#lengths[i] = known;
    }
  }

  #note(index: number, start: number): void {
    const found = this.#found;
    const isFirst = !found || start < found.start || (start === found.start && index < found.index);
    if (isFirst) this.#found = { index, start };
  }

  /** Where the longest end of the text starts that a stop string could continue; the text's length without one. */
  #firstOpen(): number {
    let longest = 0;
    for (let i = 0; i < this.#lengths.length; i++) longest = Math.max(longest, this.#stops.open(i, this.#lengths[i]));
    return this.#held.length - longest;
  }
}

function fallbacksOf(string: string): Int32Array {
  const fallbacks = new Int32Array(string.length + 1);
  let known = 0;
  for (let at = 1; at < string.length; at++) {
    while (known > 0 && string.charCodeAt(at) !== string.charCodeAt(known)) known = fallbacks[known];
    if (string.charCodeAt(at) === string.charCodeAt(known)) known++;
    fallbacks[at + 1] = known;
  }
  return fallbacks;
}
