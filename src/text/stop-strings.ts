import { SamplingParamsError } from '../errors.ts';

/** Text that may be shown, and whether a stop string ended it. */
export interface StopResult {
  readonly text: string;
  readonly stopped: boolean;
  /** The stop string, once one was found. */
  readonly stop?: string | undefined;
}

/**
 * Ends a stream of text in front of the first stop string. Of several the one that starts first counts, however the
 * text is cut into pieces, so what could still become one is held back.
 */
export class StopStringMatcher {
  readonly #stops: readonly string[];
  #held = '';
  #stopped = false;
  #stop: string | undefined;

  /** Throws SamplingParamsError on an empty stop string, which would stop everywhere. */
  constructor(stops: readonly string[]) {
    if (stops.includes('')) throw new SamplingParamsError('A stop string is empty, expected at least one character.');
    this.#stops = stops;
  }

  /** Adds text. `stopped` stays true, and `text` empty, once a stop string was found. */
  push(text: string): StopResult {
    if (this.#stopped) return { text: '', stopped: true, stop: this.#stop };
    this.#held += text;
    const found = this.#firstStop();
    const open = this.#firstOpen();
    this.#stopped = found <= open && found < this.#held.length;
    if (this.#stopped) this.#stop = this.#stopAt(found);
    const end = Math.min(found, open);
    const shown = this.#held.slice(0, end);
    this.#held = this.#stopped ? '' : this.#held.slice(end);
    return { text: shown, stopped: this.#stopped, stop: this.#stop };
  }

  /** What was held back, when no more text follows. It may hold a stop string that waited for a longer one. */
  flush(): StopResult {
    const found = this.#firstStop();
    const text = this.#held.slice(0, found);
    if (found < this.#held.length) {
      this.#stopped = true;
      this.#stop = this.#stopAt(found);
    }
    this.#held = '';
    return { text, stopped: this.#stopped, stop: this.#stop };
  }

  /** Of several that start at the same place, the one named first. */
  #stopAt(start: number): string | undefined {
    return this.#stops.find((stop) => this.#held.startsWith(stop, start));
  }

  /** Where the first whole stop string starts; the length of the text when there is none. */
  #firstStop(): number {
    const starts = this.#stops.map((stop) => this.#held.indexOf(stop)).filter((start) => start >= 0);
    return Math.min(this.#held.length, ...starts);
  }

  /** Where the longest end of the text starts that a stop string could continue; the text's length without one. */
  #firstOpen(): number {
    const text = this.#held;
    const longest = this.#stops.reduce((length, stop) => Math.max(length, stop.length - 1), 0);
    for (let start = Math.max(0, text.length - longest); start < text.length; start++) {
      const end = text.slice(start);
      if (this.#stops.some((stop) => stop.length > end.length && stop.startsWith(end))) return start;
    }
    return text.length;
  }
}
