import type { Tensor } from '../tensor/tensor.ts';
import type { LayerContext } from './parameters/layer-context.ts';
import { Loaded, type Module, type Parameter } from './parameters/parameter.ts';
import { tensorSink } from './parameters/row-sink.ts';
import { replicatedWeightLoader } from './parameters/weight-loaders.ts';

/** x / sqrt(mean(x²) + eps) * weight over whole rows, the same on every rank. */
export class RMSNorm implements Module {
  readonly #context: LayerContext;
  readonly #hiddenSize: number;
  readonly #eps: number;
  readonly #weight = new Loaded<Tensor>('An RMSNorm');

  constructor(context: LayerContext, hiddenSize: number, eps: number) {
    this.#context = context;
    this.#hiddenSize = hiddenSize;
    this.#eps = eps;
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    const shape = [this.#hiddenSize];
    yield [
      'weight',
      {
        shape,
        loader: replicatedWeightLoader,
        place: () => tensorSink(this.#context.backend, shape, (weight) => this.#weight.set(weight)),
      },
    ];
  }

  /** (T, hiddenSize) → (T, hiddenSize) */
  forward(x: Tensor): Tensor {
    return this.#context.backend.rmsNorm(x, this.#weight.get(), this.#eps);
  }
}
