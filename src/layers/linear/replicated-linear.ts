import type { LinearWeight } from '../../backends/contract/linear.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import type { MatrixRole, Module, Parameter } from '../parameters/parameter.ts';
import { matrixWeight, tensorWeight, type Weight } from '../parameters/weight.ts';
import type { LinearOptions } from './linear.ts';

/** y = x Wᵀ + b, the same on every rank: for layers too small to share. */
export class ReplicatedLinear implements Module {
  readonly #context: LayerContext;
  readonly #weight: Weight<LinearWeight>;
  readonly #bias: Weight<Tensor> | undefined;

  /** @param role Default: projection. */
  constructor(
    context: LayerContext,
    inputSize: number,
    outputSize: number,
    options: LinearOptions,
    role: MatrixRole = 'projection',
  ) {
    const owner = 'A ReplicatedLinear';
    this.#context = context;
    this.#weight = matrixWeight(context, role, { ...options, owner, shape: [outputSize, inputSize] });
    this.#bias = options.bias ? tensorWeight(context, 'bias', { owner, shape: [outputSize] }) : undefined;
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield ['weight', this.#weight.parameter];
    if (this.#bias) yield ['bias', this.#bias.parameter];
  }

  /** (T, inputSize) → (T, outputSize) */
  forward(x: Tensor): Tensor {
    return this.#context.backend.linear(x, this.#weight.get(), this.#bias?.get());
  }
}
