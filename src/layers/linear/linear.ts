import type { LinearWeight } from '../../backends/contract/linear.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import { Loaded, type Module, type Parameter } from '../parameters/parameter.ts';
import type { QuantizationConfig } from '../parameters/quantization.ts';
import { linearWeightSink, tensorSink, valuesSink } from '../parameters/row-sink.ts';
import {
  divide,
  replicatedWeightLoader,
  shardedWeightLoader,
  type WeightLoader,
} from '../parameters/weight-loaders.ts';

/** How a linear layer is made, whichever way it is sharded. */
export interface LinearOptions {
  readonly bias: boolean;
  readonly prefix: string;
  readonly quantConfig?: QuantizationConfig | undefined;
}

/**
 * y = x Wᵀ + b with W's rows divided among the ranks: each holds outputSize / ranks columns of y.
 */
export class ColumnParallelLinear implements Module {
  readonly outputSizePerRank: number;
  readonly #context: LayerContext;
  readonly #inputSize: number;
  readonly #checkpointRows: number;
  readonly #options: LinearOptions;
  readonly #loader: WeightLoader;
  readonly #weight = new Loaded<LinearWeight>('A ColumnParallelLinear');
  #bias: Tensor | undefined;

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
    this.#context = context;
    this.#inputSize = inputSize;
    this.#checkpointRows = checkpointRows;
    this.#options = options;
    this.#loader = loader;
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    const { backend } = this.#context;
    const [rows, columns] = [this.outputSizePerRank, this.#inputSize];
    const dtype = linearDType(this.#context, this.#options);
    yield [
      'weight',
      {
        shape: [this.#checkpointRows, columns],
        loader: this.#loader,
        place: () => linearWeightSink(backend, [rows, columns], dtype, (weight) => this.#weight.set(weight)),
      },
    ];
    if (this.#options.bias) {
      yield [
        'bias',
        {
          shape: [this.#checkpointRows],
          loader: this.#loader,
          place: () =>
            tensorSink(backend, [rows], (bias) => {
              this.#bias = bias;
            }),
        },
      ];
    }
  }

  /** (T, inputSize) → (T, outputSize / ranks) */
  forward(x: Tensor): Tensor {
    return this.#context.backend.linear(x, this.#weight.get(), this.#bias);
  }
}

/**
 * y = x Wᵀ + b with W's columns divided among the ranks: each multiplies its part of x, and the products are summed
 * over the ranks. The bias belongs to rank 0, so that the sum holds it once.
 */
export class RowParallelLinear implements Module {
  readonly #context: LayerContext;
  readonly #inputSize: number;
  readonly #inputSizePerRank: number;
  readonly #outputSize: number;
  readonly #options: LinearOptions;
  readonly #weight = new Loaded<LinearWeight>('A RowParallelLinear');
  #bias: Tensor | undefined;

  constructor(context: LayerContext, inputSize: number, outputSize: number, options: LinearOptions) {
    this.#context = context;
    this.#inputSize = inputSize;
    this.#inputSizePerRank = divide(inputSize, context.group.size, `The layer '${options.prefix}'`);
    this.#outputSize = outputSize;
    this.#options = options;
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    const { backend, group } = this.#context;
    const [rows, columns] = [this.#outputSize, this.#inputSizePerRank];
    const dtype = linearDType(this.#context, this.#options);
    yield [
      'weight',
      {
        shape: [rows, this.#inputSize],
        loader: shardedWeightLoader(1, group.size, group.rank),
        place: () => linearWeightSink(backend, [rows, columns], dtype, (weight) => this.#weight.set(weight)),
      },
    ];
    if (this.#options.bias) {
      yield [
        'bias',
        {
          shape: [rows],
          loader: replicatedWeightLoader,
          place: () =>
            valuesSink(rows, (values) => {
              if (group.rank === 0) this.#bias = backend.tensor(values, [rows]);
            }),
        },
      ];
    }
  }

  /** (T, inputSize / ranks) → (T, outputSize), the same on all ranks. */
  forward(x: Tensor): Tensor {
    return this.#context.backend.allReduce([this.forwardPartial(x)], this.#context.group)[0];
  }

  /** The rank's own summand of {@link forward}, for a caller that has more to sum over the ranks. */
  forwardPartial(x: Tensor): Tensor {
    return this.#context.backend.linear(x, this.#weight.get(), this.#bias);
  }
}

/** Storage of such a layer's weight. */
export function linearDType(context: LayerContext, options: LinearOptions) {
  return options.quantConfig?.weightDType(options.prefix) ?? context.weightDType;
}
