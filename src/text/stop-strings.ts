import { SamplingParamsError } from '../errors.ts';

/** Text that may be shown, and whether a stop string ended it. */
export interface StopResult {
  readonly text: string;
  readonly stopped: boolean;
  /** The stop string that was found. */
  readonly stop?: string | undefined;
}

/** Stop strings, prepared for the search. Answers to one request share them. */
export class StopStrings {
  readonly strings: readonly string[];
  /** Per string and length of a prefix of it: the longest shorter prefix that the prefix ends with. */
  readonly #fallbacks: readonly Int32Array[];

  /** @throws SamplingParamsError on an empty stop string, which would stop everywhere. */
  constructor(strings: readonly string[]) {
    if (strings.includes('')) {
      throw new SamplingParamsError('stop has an empty text; expected at least one character.', '', { param: 'stop' });
    }
    this.strings = strings;
    this.#fallbacks = strings.map(fallbacksOf);
  }

  /**
   * Length of string `i`'s beginning that the text ends with after one more character.
   * @param length the same before it.
   */
  next(i: number, length: number, character: number): number {
    const string = this.strings[i];
    const fallbacks = this.#fallbacks[i];
    let known = length === string.length ? fallbacks[length] : length;
    while (known > 0 && string.charCodeAt(known) !== character) known = fallbacks[known];
    return string.charCodeAt(known) === character ? known + 1 : 0;
  }

  /** Length of string `i`'s beginning that the text ends with, and that may become the whole string. */
  open(i: number, length: number): number {
    return length === this.strings[i].length ? this.#fallbacks[i][length] : length;
  }
}

/** A token that is left out of the text. */
interface HiddenToken {
  readonly text: string;
  /** Length of the held text before it. */
  readonly at: number;
}

/**
 * Ends a stream of text before the first stop string. Of several the one that starts first counts, however the text is
 * cut into pieces, so text that could still become one is held back. Each character is examined once per string (the
 * search of Knuth, Morris and Pratt), so that neither long strings nor texts that almost match cost more.
 *
 * Tokens that are left out of the text, such as `<|im_end|>`, count too: as a stop string, and as a part of one. A stop
 * string takes such a token whole or not at all, and is also found in the text as it is without them.
 */
export class StopStringMatcher {
  readonly #stops: StopStrings;
  /** Length of each string's beginning that the text ends with. */
  readonly #lengths: Int32Array;
  /** Lengths of the beginnings that the text with hidden tokens ends with, as long as any is held. */
  #mixedLengths: Int32Array | undefined;
  #held = '';
  #hidden: readonly HiddenToken[] = [];
  #stopped = false;
  #stop: string | undefined;
  /** The stop string that starts first, and its place in the held text. Of several the one named first. */
  #found: { readonly index: number; readonly start: number } | undefined;

  /** @throws SamplingParamsError on an empty stop string. */
  constructor(stops: StopStrings | readonly string[]) {
    this.#stops = stops instanceof StopStrings ? stops : new StopStrings(stops);
    this.#lengths = new Int32Array(this.#stops.strings.length);
  }

  /** Adds text. `stopped` stays true, and `text` empty, once a stop string was found. */
  push(text: string): StopResult {
    if (this.#stopped) return { text: '', stopped: true, stop: this.#stop };
    const begin = this.#held.length;
    const place = this.#placeOf(begin);
    this.#held += text;
    this.#search(this.#lengths, text, begin, (index, start) => this.#note(index, this.#placeOf(start)));
    if (this.#mixedLengths) this.#searchMixed(this.#mixedLengths, text, place);
    return this.#release();
  }

  /** Adds a token that is left out of the text. */
  pushHidden(text: string): StopResult {
    const isSearched = !this.#stopped && this.#stops.strings.length > 0 && text !== '';
    if (!isSearched) return { text: '', stopped: this.#stopped, stop: this.#stop };
    const place = this.#placeOf(this.#held.length);
    this.#hidden = [...this.#hidden, { text, at: this.#held.length }];
    // Without hidden tokens the two texts are the same.
    this.#mixedLengths ??= this.#lengths.slice();
    this.#searchMixed(this.#mixedLengths, text, place);
    return this.#release();
  }

  /** The held text, when no more text follows. It may contain a stop string that waited for a longer one. */
  flush(): StopResult {
    if (this.#found) return this.#end(this.#found);
    const text = this.#held;
    this.#held = '';
    this.#hidden = [];
    return { text, stopped: this.#stopped, stop: this.#stop };
  }

  /** Returns the text in which no stop string begins, nor could begin with more text. */
  #release(): StopResult {
    const open = this.#firstOpen();
    const found = this.#found;
    // Until no string that starts before it can be completed.
    if (found && found.start <= open) return this.#end(found);
    const cut = this.#textBefore(open);
    const text = this.#held.slice(0, cut);
    this.#held = this.#held.slice(cut);
    const kept = this.#hidden.filter((_, i) => this.#startOfHidden(i) >= open);
    this.#hidden = kept.map((token) => ({ ...token, at: token.at - cut }));
    if (kept.length === 0) this.#mixedLengths = undefined;
    if (found) this.#found = { ...found, start: found.start - open };
    return { text, stopped: false, stop: undefined };
  }

  #end({ index, start }: { readonly index: number; readonly start: number }): StopResult {
    const text = this.#held.slice(0, this.#textBefore(start));
    this.#held = '';
    this.#hidden = [];
    this.#found = undefined;
    this.#stopped = true;
    this.#stop = this.#stops.strings[index];
    return { text, stopped: true, stop: this.#stop };
  }

  /** Scans text that begins at `begin`, and reports the start of each complete stop string. */
  #search(lengths: Int32Array, text: string, begin: number, found: (index: number, start: number) => void): void {
    for (const [i, { length }] of this.#stops.strings.entries()) {
      let known = lengths[i];
      for (let at = 0; at < text.length; at++) {
        known = this.#stops.next(i, known, text.charCodeAt(at));
        if (known === length) found(i, begin + at + 1 - length);
      }
      lengths[i] = known;
    }
  }

  #searchMixed(lengths: Int32Array, text: string, place: number): void {
    this.#search(lengths, text, place, (index, start) => {
      if (this.#takesHidden(start, start + this.#stops.strings[index].length)) this.#note(index, start);
    });
  }

  /** Whether a hidden token lies in this part, and none is cut by its ends. */
  #takesHidden(start: number, end: number): boolean {
    const places = this.#hidden.map(({ text }, i) => [this.#startOfHidden(i), this.#startOfHidden(i) + text.length]);
    const isCut = (at: number) => places.some(([from, to]) => from < at && at < to);
    return places.some(([from, to]) => start <= from && to <= end) && !isCut(start) && !isCut(end);
  }

  #note(index: number, start: number): void {
    const found = this.#found;
    const isFirst = !found || start < found.start || (start === found.start && index < found.index);
    if (isFirst) this.#found = { index, start };
  }

  /** The place where the longest end starts that a stop string could continue; the end without one. */
  #firstOpen(): number {
    const inText = this.#placeOf(this.#held.length - this.#longestOpen(this.#lengths));
    if (!this.#mixedLengths) return inText;
    const whole = this.#hidden.reduce((length, { text }) => length + text.length, this.#held.length);
    return Math.min(inText, whole - this.#longestOpen(this.#mixedLengths));
  }

  #longestOpen(lengths: Int32Array): number {
    let longest = 0;
    for (let i = 0; i < lengths.length; i++) longest = Math.max(longest, this.#stops.open(i, lengths[i]));
    return longest;
  }

  /** Place of a character of the text among the held characters: after the hidden tokens before it. */
  #placeOf(index: number): number {
    return this.#hidden.reduce((place, { text, at }) => (at <= index ? place + text.length : place), index);
  }

  #startOfHidden(i: number): number {
    return this.#hidden.slice(0, i).reduce((place, { text }) => place + text.length, this.#hidden[i].at);
  }

  /** Length of the text before a place. */
  #textBefore(place: number): number {
    let hidden = 0;
    for (const [i, { text, at }] of this.#hidden.entries()) {
      const start = this.#startOfHidden(i);
      if (start >= place) break;
      if (start + text.length > place) return at;
      hidden += text.length;
    }
    return place - hidden;
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
