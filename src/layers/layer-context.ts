import type { Backend } from '../backends/backend.ts';
import type { ProcessGroup } from '../distributed/process-group.ts';
import { shardGroup } from '../distributed/shard-group.ts';
import { DuplicateLayerError } from '../errors.ts';
import type { WeightDType } from '../tensor/dtype.ts';

/** What all layers of one model on one rank share. */
export class LayerContext {
  readonly backend: Backend;
  readonly group: ProcessGroup;
  /** Storage of linear weights that no quantisation config decides. */
  readonly weightDType: WeightDType;
  readonly #layers: Map<string, object>;

  constructor(backend: Backend, group: ProcessGroup, weightDType: WeightDType, layers = new Map<string, object>()) {
    this.backend = backend;
    this.group = group;
    this.weightDType = weightDType;
    this.#layers = layers;
  }

  /**
   * The same for a layer of so many units (heads, or columns) that as many ranks share as divide them. The others
   * repeat the last shard and add nothing to sums.
   */
  sharing(units: number): LayerContext {
    return new LayerContext(this.backend, shardGroup(units, this.group), this.weightDType, this.#layers);
  }

  /** Layers with state are found by their prefix, so two may not share one. */
  register(prefix: string, layer: object): void {
    if (this.#layers.has(prefix)) {
      throw new DuplicateLayerError(`Duplicate layer name: '${prefix}'.`, 'Give each stateful layer its own prefix.');
    }
    this.#layers.set(prefix, layer);
  }
}
