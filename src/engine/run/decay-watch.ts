import type { Backend } from '../../backends/contract/backend.ts';
import type { ProcessGroup } from '../../distributed/process-group.ts';
import type { MambaCacheParams } from '../../layers/mamba/state-space-mixer.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { LogDecays } from './executor.ts';

/** Tensor into whose columns the layers of one step write how much states decay: one exchange and one read for all. */
export class DecayWatch {
  /** The states, with a place for each layer. */
  readonly cache: readonly MambaCacheParams[];
  readonly #backend: Backend;
  /** (sequences, heads of all layers on this rank) */
  readonly #own: Tensor;

  constructor(backend: Backend, layers: readonly MambaCacheParams[], sequences: number) {
    const heads = headsPerLayer(layers);
    const own = backend.empty([sequences, heads.reduce((sum, count) => sum + count, 0)]);
    const places = backend.splitColumns(own, heads);
    this.cache = layers.map((layer, i) => ({ ...layer, logDecays: places[i] }));
    this.#backend = backend;
    this.#own = own;
  }

  /** (sequences, ranks * heads of all layers on one of them) */
  gather(group: ProcessGroup): Tensor {
    return this.#backend.allGatherColumns(this.#own, group);
  }
}

/**
 * Rows of some sequences from the gathered columns, with the heads of a layer next to each other.
 * @param rows the sequences, in the order in which they are wanted.
 */
export function selectLogDecays(
  gathered: Float32Array,
  rows: readonly number[],
  layers: readonly MambaCacheParams[],
  ranks: number,
): LogDecays {
  const perRank = headsPerLayer(layers);
  const rankWidth = perRank.reduce((sum, count) => sum + count, 0);
  const sums = new Float32Array(rows.length * ranks * rankWidth);
  let to = 0;
  for (const row of rows) {
    let column = 0;
    for (const heads of perRank) {
      for (let rank = 0; rank < ranks; rank++) {
        const from = (row * ranks + rank) * rankWidth + column;
        sums.set(gathered.subarray(from, from + heads), to);
        to += heads;
      }
      column += heads;
    }
  }
  return { heads: perRank.map((heads) => heads * ranks), sums };
}

function headsPerLayer(layers: readonly MambaCacheParams[]): number[] {
  return layers.map(({ ssmState }) => ssmState.shape[1]);
}
