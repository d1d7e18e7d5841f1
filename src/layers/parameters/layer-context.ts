import type { Backend } from '../../backends/contract/backend.ts';
import type { ProcessGroup } from '../../distributed/process-group.ts';
import { shardGroup } from '../../distributed/shard-group.ts';
import { DuplicateLayerError } from '../../errors.ts';
import type { WeightDType } from '../../tensor/dtype.ts';
import type { Module } from './parameter.ts';

/** Check of a layer's weights against the checkpoint while layers are made. */
export interface WeightCheck {
  /**
   * Looks a part's weights up in the checkpoint once the part is made, before anything of the weights' size is.
   * @param prefix of their names.
   */
  (prefix: string, part: Module): void;
  /** The model's own names of the weights that are stored. */
  readonly stored?: ReadonlySet<string>;
}

/** Layers of a model that one process holds: from `begin` up to, but not including, `end`. */
export interface Stage {
  readonly begin: number;
  readonly end: number;
}

/** Parts of a context that most models do without. */
export interface LayerContextOptions {
  /** Absent where there is no checkpoint to compare the config with. */
  readonly check?: WeightCheck | undefined;
  /** Absent: all layers. */
  readonly stage?: Stage | undefined;
}

/**
 * Backend, group and storage that all layers of one model on one rank share.
 *
 * @example
 * ```ts
 * const context = new LayerContext(new ReferenceBackend(), singleProcess, 'bfloat16');
 * ```
 */
export class LayerContext {
  readonly backend: Backend;
  readonly group: ProcessGroup;
  /** Storage of matrices that no quantisation config decides. */
  readonly weightDType: WeightDType;
  /** Layers that are made, of a model that several processes hold. Absent: all. */
  readonly stage: Stage | undefined;
  readonly #check: WeightCheck | undefined;
  readonly #layers: Map<string, object>;

  constructor(
    backend: Backend,
    group: ProcessGroup,
    weightDType: WeightDType,
    { check, stage }: LayerContextOptions = {},
    layers = new Map<string, object>(),
  ) {
    this.backend = backend;
    this.group = group;
    this.weightDType = weightDType;
    this.stage = stage;
    this.#check = check;
    this.#layers = layers;
  }

  /** @throws MissingTensorError, WeightShapeError where the checkpoint can't hold what the config asks for. */
  checkWeights(prefix: string, part: Module): void {
    this.#check?.(prefix, part);
  }

  /** Whether the checkpoint is known to hold a weight: writers store some in several ways. */
  isStored(name: string): boolean {
    return this.#check?.stored?.has(name) ?? false;
  }

  /**
   * The context of a layer whose units (heads, or columns) are shared by as many ranks as divide them. The other ranks
   * repeat the last shard and add nothing to sums.
   */
  sharing(units: number): LayerContext {
    const group = shardGroup(units, this.group);
    const options = { check: this.#check, stage: this.stage };
    return new LayerContext(this.backend, group, this.weightDType, options, this.#layers);
  }

  /** Layers with state are found by their prefix, so two may not share one. */
  register(prefix: string, layer: object): void {
    if (this.#layers.has(prefix)) {
      throw new DuplicateLayerError(`Duplicate layer name: '${prefix}'.`, 'Give each stateful layer its own prefix.');
    }
    this.#layers.set(prefix, layer);
  }
}
