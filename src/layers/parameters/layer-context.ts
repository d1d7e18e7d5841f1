import type { Backend } from '../../backends/contract/backend.ts';
import type { ProcessGroup } from '../../distributed/process-group.ts';
import { shardGroup } from '../../distributed/shard-group.ts';
import { DuplicateLayerError } from '../../errors.ts';
import type { WeightDType } from '../../tensor/dtype.ts';
import type { Module } from './parameter.ts';

/**
 * Looks a part's weights up in the checkpoint, as soon as there is the part and before there is anything of their size.
 * @param prefix of their names.
 */
export type WeightCheck = (prefix: string, part: Module) => void;

/**
 * What all layers of one model on one rank share.
 *
 * @example
 * ```ts
 * const context = new LayerContext(new ReferenceBackend(), singleProcess, 'bfloat16');
 * ```
 */
export class LayerContext {
  readonly backend: Backend;
  readonly group: ProcessGroup;
  /** Storage of linear weights that no quantisation config decides. */
  readonly weightDType: WeightDType;
  /** Absent where there is no checkpoint: then sizes are as large as the config says. */
  readonly #check: WeightCheck | undefined;
  readonly #layers: Map<string, object>;

  constructor(
    backend: Backend,
    group: ProcessGroup,
    weightDType: WeightDType,
    check?: WeightCheck,
    layers = new Map<string, object>(),
  ) {
    this.backend = backend;
    this.group = group;
    this.weightDType = weightDType;
    this.#check = check;
    this.#layers = layers;
  }

  /** @throws MissingTensorError, WeightShapeError where the checkpoint can't hold what the config asks for. */
  checkWeights(prefix: string, part: Module): void {
    this.#check?.(prefix, part);
  }

  /**
   * The same for a layer of so many units (heads, or columns) that as many ranks share as divide them. The others
   * repeat the last shard and add nothing to sums.
   */
  sharing(units: number): LayerContext {
    const group = shardGroup(units, this.group);
    return new LayerContext(this.backend, group, this.weightDType, this.#check, this.#layers);
  }

  /** Layers with state are found by their prefix, so two may not share one. */
  register(prefix: string, layer: object): void {
    if (this.#layers.has(prefix)) {
      throw new DuplicateLayerError(`Duplicate layer name: '${prefix}'.`, 'Give each stateful layer its own prefix.');
    }
    this.#layers.set(prefix, layer);
  }
}
