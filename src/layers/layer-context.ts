import type { Backend } from '../backends/backend.ts';
import type { ProcessGroup } from '../distributed/process-group.ts';
import { DuplicateLayerError } from '../errors.ts';
import type { WeightDType } from '../tensor/dtype.ts';

/** What all layers of one model on one rank share. */
export class LayerContext {
  readonly backend: Backend;
  readonly group: ProcessGroup;
  /** Storage of linear weights that no quantisation config decides. */
  readonly weightDType: WeightDType;
  readonly #layers = new Map<string, object>();

  constructor(backend: Backend, group: ProcessGroup, weightDType: WeightDType) {
    this.backend = backend;
    this.group = group;
    this.weightDType = weightDType;
  }

  /** Layers with state are found by their prefix, so two may not share one. */
  register(prefix: string, layer: object): void {
    if (this.#layers.has(prefix)) {
      throw new DuplicateLayerError(`Duplicate layer name: '${prefix}'.`, 'Give each stateful layer its own prefix.');
    }
    this.#layers.set(prefix, layer);
  }
}
