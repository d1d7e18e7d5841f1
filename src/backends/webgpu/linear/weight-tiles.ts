/** Rows of a tile, and its columns. */
export const TILE_SIDE = 16;
/** u32 words of a row of a tile of float16. */
const TILE_ROW_WORDS = 8;

/**
 * Puts rows of float16 in the order in which subgroup matrices are read fastest: tiles of 16 rows and 16 columns, one
 * row of a tile after another, tiles of the same 16 rows (a panel) side by side. Rows come in any order; a panel is sent
 * off when it is whole.
 */
export class WeightTiles {
  readonly #rowWords: number;
  readonly #send: (firstRow: number, words: Uint32Array) => void;
  /** Panels that lack rows. */
  readonly #open = new Map<number, { readonly words: Uint32Array; rows: number }>();

  /** @param rowWords of a packed row: a multiple of 8. @param send takes a panel's words. */
  constructor(rowWords: number, send: (firstRow: number, words: Uint32Array) => void) {
    this.#rowWords = rowWords;
    this.#send = send;
  }

  put(row: number, packed: Uint32Array): void {
    const panel = Math.floor(row / TILE_SIDE);
    const open = this.#open.get(panel) ?? { words: new Uint32Array(TILE_SIDE * this.#rowWords), rows: 0 };
    const { words } = open;
    const inTile = (row % TILE_SIDE) * TILE_ROW_WORDS;
    for (let from = 0, to = inTile; from < packed.length; to += (TILE_SIDE - 1) * TILE_ROW_WORDS) {
      for (let i = 0; i < TILE_ROW_WORDS; i++) words[to++] = packed[from++];
    }
    open.rows++;
    if (open.rows < TILE_SIDE) {
      this.#open.set(panel, open);
      return;
    }
    this.#open.delete(panel);
    this.#send(panel * TILE_SIDE, words);
  }

  /** Sends the remaining rows; missing rows are zeros. */
  finish(): void {
    for (const [panel, { words }] of this.#open) this.#send(panel * TILE_SIDE, words);
    this.#open.clear();
  }
}
