/** Visits of a tile, of which a workgroup makes the products: see expert-tile.wgsl. */
const TILE = 64;

/**
 * Layout of the table of a mixture of experts, which the device makes of the routing (u32 words): how many rows visit
 * each of E experts; how many tiles there are, and visits; the tiles (expert, first visit, visits); each visit's row,
 * and its expert; and each row's visit to each expert (T, E), where it has a weight for it. Visits are in order of
 * experts, those to one expert in order of rows.
 */
export class ExpertTable {
  readonly T: number;
  readonly E: number;
  /** Visits that there is room for. */
  readonly visits: number;
  /** Tiles, at most. */
  readonly tiles: number;
  readonly tiles0: number;
  readonly rows0: number;
  readonly experts0: number;
  readonly visits0: number;
  readonly words: number;

  constructor(T: number, E: number, visits: number) {
    this.T = T;
    this.E = E;
    this.visits = visits;
    this.tiles = Math.floor(visits / TILE) + Math.min(E, visits);
    this.tiles0 = E + 2;
    this.rows0 = this.tiles0 + 3 * this.tiles;
    this.experts0 = this.rows0 + visits;
    this.visits0 = this.experts0 + visits;
    this.words = this.visits0 + T * E;
  }
}
