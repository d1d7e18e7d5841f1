import type { Tensor } from '../tensor/tensor.ts';
import type { LayerContext } from './parameters/layer-context.ts';
import type { Module, Parameter } from './parameters/parameter.ts';
import { tensorWeight, type Weight } from './parameters/weight.ts';

/** x / sqrt(mean(x²) + eps) * weight over whole rows, the same on every rank. */
export class RMSNorm implements Module {
  readonly #context: LayerContext;
  readonly #eps: number;
  readonly #weight: Weight<Tensor>;

  constructor(context: LayerContext, hiddenSize: number, eps: number) {
    this.#context = context;
    this.#eps = eps;
    this.#weight = tensorWeight(context, 'norm', { owner: 'An RMSNorm', shape: [hiddenSize] });
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield ['weight', this.#weight.parameter];
  }

  /** (T, hiddenSize) → (T, hiddenSize) */
  forward(x: Tensor): Tensor {
    return this.#context.backend.rmsNorm(x, this.#weight.get(), this.#eps);
  }
}
