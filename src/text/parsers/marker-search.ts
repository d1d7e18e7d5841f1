/** Result of a character: text that is certainly no part of a marker, and the marker that the character completes. */
export interface MarkerFind {
  readonly text: string;
  readonly marker?: string;
}

/** Finds markers in a text that comes character by character. Text that may begin a marker is held back. */
export class MarkerSearch {
  readonly #markers: readonly string[];
  #held = '';

  constructor(markers: readonly string[]) {
    this.#markers = markers;
  }

  push(char: string): MarkerFind {
    this.#held += char;
    let text = '';
    while (this.#held !== '') {
      const held = this.#held;
      const marker = this.#markers.find((each) => each.startsWith(held));
      if (marker === held) {
        this.#held = '';
        return { text, marker };
      }
      if (marker !== undefined) break;
      // Markers and their beginnings are made of single units, so this cuts no character in two that is held for long.
      text += held[0];
      this.#held = held.slice(1);
    }
    return { text };
  }

  /** Text that was held back. */
  flush(): string {
    const held = this.#held;
    this.#held = '';
    return held;
  }
}
