import type { WeightDType } from '../../tensor/dtype.ts';

/** Decides how linear layers store their weights; passed to layers as `quantConfig`, as in vLLM. */
export interface QuantizationConfig {
  readonly name: string;
  /** The dtype for the linear layer with this prefix. */
  weightDType(prefix: string): WeightDType;
}

/**
 * Quantises linear layers on load, in blocks along the input dimension. A rank quantises its own shard, so ranks hold
 * the same weights as one rank where shards are whole blocks; elsewhere they differ by a rounding.
 */
export class BlockwiseQuantization implements QuantizationConfig {
  readonly name: string;
  readonly #dtype: 'int8' | 'int4';

  constructor(dtype: 'int8' | 'int4') {
    this.name = dtype;
    this.#dtype = dtype;
  }

  weightDType(_prefix: string): WeightDType {
    return this.#dtype;
  }
}
