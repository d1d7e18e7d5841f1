import type { LinearWeight } from '../../backends/contract/linear.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import { Loaded, type Module, type Parameter } from '../parameters/parameter.ts';
import { linearWeightSink, tensorSink } from '../parameters/row-sink.ts';
import { replicatedWeightLoader } from '../parameters/weight-loaders.ts';
import { type LinearOptions, linearDType } from './linear.ts';

/** y = x Wᵀ + b, the same on every rank: for layers too small to share. */
export class ReplicatedLinear implements Module {
  readonly #context: LayerContext;
  readonly #inputSize: number;
  readonly #outputSize: number;
  readonly #options: LinearOptions;
  readonly #weight = new Loaded<LinearWeight>('A ReplicatedLinear');
  #bias: Tensor | undefined;

  constructor(context: LayerContext, inputSize: number, outputSize: number, options: LinearOptions) {
    this.#context = context;
    this.#inputSize = inputSize;
    this.#outputSize = outputSize;
    this.#options = options;
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    const { backend } = this.#context;
    const shape = [this.#outputSize, this.#inputSize] as const;
    const dtype = linearDType(this.#context, this.#options);
    yield [
      'weight',
      {
        shape,
        loader: replicatedWeightLoader,
        place: () => linearWeightSink(backend, shape, dtype, (weight) => this.#weight.set(weight)),
      },
    ];
    if (!this.#options.bias) return;
    yield [
      'bias',
      {
        shape: [this.#outputSize],
        loader: replicatedWeightLoader,
        place: () =>
          tensorSink(backend, [this.#outputSize], (bias) => {
            this.#bias = bias;
          }),
      },
    ];
  }

  /** (T, inputSize) → (T, outputSize) */
  forward(x: Tensor): Tensor {
    return this.#context.backend.linear(x, this.#weight.get(), this.#bias);
  }
}
