/** Least and greatest pause in milliseconds: about a frame, and as long as a reader would wait. */
const [SHORTEST, LONGEST] = [16, 500];

/**
 * Collects items and hands them over together. Between two hand-overs it rests twice as long as the last one took: layout
 * of a long text takes time, and a fast model must not keep the page from answering its reader.
 */
export class Batcher<Item> {
  readonly #deliver: (items: readonly Item[]) => void;
  #items: Item[] = [];
  #pause = SHORTEST;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(deliver: (items: readonly Item[]) => void) {
    this.#deliver = deliver;
  }

  add(item: Item): void {
    this.#items.push(item);
    this.#timer ??= setTimeout(() => this.flush(), this.#pause);
  }

  /** Hands over all collected items immediately. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#items.length === 0) return;
    const items = this.#items;
    this.#items = [];
    const begin = performance.now();
    this.#deliver(items);
    this.#pause = Math.min(LONGEST, Math.max(SHORTEST, 2 * (performance.now() - begin)));
  }
}
