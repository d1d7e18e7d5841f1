import type { LinearWeight } from '../../backends/contract/linear.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import type { Module, Parameter } from '../parameters/parameter.ts';
import type { QuantizationConfig } from '../parameters/quantization.ts';
import { matrixWeight, tensorWeight, type Weight } from '../parameters/weight.ts';
import { divide, shardedWeightLoader, type WeightLoader } from '../parameters/weight-loaders.ts';

/** Options of a linear layer, whichever way it is sharded. */
export interface LinearOptions {
  readonly bias: boolean;
  readonly prefix: string;
  readonly quantConfig?: QuantizationConfig | undefined;
}

/**
 * y = x Wᵀ + b with W's rows divided among the ranks: each holds outputSize / ranks columns of y.
 *
 * @example
 * ```ts
 * const layer = new ColumnParallelLinear(context, 256, 1024, { bias: false, prefix: 'mlp.up_proj' });
 * new ParameterTable(layer).load('weight', new Float32Array(1024 * 256));
 * const y = layer.forward(hiddenStates); // (T, 1024 / ranks)
 * ```
 */
export class ColumnParallelLinear implements Module {
  readonly outputSizePerRank: number;
  readonly #context: LayerContext;
  readonly #weight: Weight<LinearWeight>;
  readonly #bias: Weight<Tensor> | undefined;

  /**
   * @param outputSize rows over all ranks.
   * @param loader default: contiguous shards. A fused layer brings its own, which serves weight and bias alike.
   * @param checkpointRows rows in the checkpoint, where the loader repeats some. Default: outputSize.
   */
  constructor(
    context: LayerContext,
    inputSize: number,
    outputSize: number,
    options: LinearOptions,
    loader: WeightLoader = shardedWeightLoader(0, context.group.size, context.group.rank),
    checkpointRows: number = outputSize,
  ) {
    this.outputSizePerRank = divide(outputSize, context.group.size, `The layer '${options.prefix}'`);
    const rows = this.outputSizePerRank;
    const owner = 'A ColumnParallelLinear';
    this.#context = context;
    this.#weight = matrixWeight(context, 'projection', {
      ...options,
      owner,
      shape: [checkpointRows, inputSize],
      ownShape: [rows, inputSize],
      loader,
    });
    this.#bias = options.bias
      ? tensorWeight(context, 'bias', { owner, shape: [checkpointRows], ownShape: [rows], loader })
      : undefined;
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield ['weight', this.#weight.parameter];
    if (this.#bias) yield ['bias', this.#bias.parameter];
  }

  /** (T, inputSize) → (T, outputSize / ranks) */
  forward(x: Tensor): Tensor {
    return this.#context.backend.linear(x, this.#weight.get(), this.#bias?.get());
  }
}

/**
 * y = x Wᵀ + b with W's columns divided among the ranks: each multiplies its part of x, and the products are summed
 * over the ranks. The bias belongs to rank 0, so that the sum holds it once.
 *
 * @example
 * ```ts
 * const layer = new RowParallelLinear(context, 1024, 256, { bias: true, prefix: 'mlp.down_proj' });
 * const y = layer.forward(hiddenStates); // (T, 1024 / ranks) → (T, 256)
 * ```
 */
export class RowParallelLinear implements Module {
  readonly #context: LayerContext;
  readonly #weight: Weight<LinearWeight>;
  readonly #bias: Weight<Tensor> | undefined;

  constructor(context: LayerContext, inputSize: number, outputSize: number, options: LinearOptions) {
    const { size, rank } = context.group;
    const owner = 'A RowParallelLinear';
    this.#context = context;
    this.#weight = matrixWeight(context, 'projection', {
      ...options,
      owner,
      shape: [outputSize, inputSize],
      ownShape: [outputSize, divide(inputSize, size, `The layer '${options.prefix}'`)],
      loader: shardedWeightLoader(1, size, rank),
    });
    this.#bias = options.bias ? tensorWeight(context, 'bias', { owner, shape: [outputSize] }) : undefined;
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield ['weight', this.#weight.parameter];
    if (this.#bias) yield ['bias', this.#bias.parameter];
  }

  /** (T, inputSize / ranks) → (T, outputSize), the same on all ranks. */
  forward(x: Tensor): Tensor {
    return this.#context.backend.allReduce([this.forwardPartial(x)], this.#context.group)[0];
  }

  /** The rank's own summand of {@link forward}, for a caller that has more to sum over the ranks. */
  forwardPartial(x: Tensor): Tensor {
    const { backend, group } = this.#context;
    return backend.linear(x, this.#weight.get(), group.rank === 0 ? this.#bias?.get() : undefined);
  }
}
