import type { MatrixDType } from '../../tensor/block-formats.ts';
import type { WeightDType } from '../../tensor/dtype.ts';
import type { MatrixRole } from './parameter.ts';

/** Decides how linear layers store their weights; passed to layers as `quantConfig`, as in vLLM. */
export interface QuantizationConfig {
  readonly name: string;
  /**
   * Storage of a matrix; undefined: as in models without quantisation.
   * @param prefix the layer's name in the model.
   * @param role role of the matrix in the layer.
   */
  weightDType(prefix: string, role: MatrixRole): MatrixDType | undefined;
}

/**
 * Quantises linear layers on load, in blocks along the input dimension. A rank quantises its own shard, so ranks hold
 * the same weights as one rank where shards are whole blocks; elsewhere they differ by a rounding.
 *
 * @example
 * ```ts
 * const quantConfig = new BlockwiseQuantization('int4');
 * const layer = new ColumnParallelLinear(context, 256, 1024, { bias: false, prefix: 'up_proj', quantConfig });
 * ```
 */
export class BlockwiseQuantization implements QuantizationConfig {
  readonly name: string;
  readonly #dtype: 'int8' | 'int4';

  constructor(dtype: 'int8' | 'int4') {
    this.name = dtype;
    this.#dtype = dtype;
  }

  /** Routers stay as they are: they are small, and a rounding can choose another expert. */
  weightDType(_prefix: string, role: MatrixRole): WeightDType | undefined {
    return role === 'router' ? undefined : this.#dtype;
  }
}
