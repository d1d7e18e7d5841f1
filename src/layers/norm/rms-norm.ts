import type { Tensor } from '../../tensor/tensor.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import type { Module, Parameter } from '../parameters/parameter.ts';
import { tensorWeight, type Weight } from '../parameters/weight.ts';
import { composedWeightLoader, replicatedWeightLoader } from '../parameters/weight-loaders.ts';

/** x / sqrt(mean(x²) + eps) * weight over whole rows, the same on every rank. */
export class RMSNorm implements Module {
  readonly #context: LayerContext;
  readonly #eps: number;
  readonly #weight: Weight<Tensor>;

  /** @param offset what the checkpoint's weights lack: they are stored around 0 then. */
  constructor(context: LayerContext, hiddenSize: number, eps: number, offset = 0) {
    this.#context = context;
    this.#eps = eps;
    const loader = composedWeightLoader(replicatedWeightLoader, (weight) => weight + offset);
    const spec = { owner: 'An RMSNorm', shape: [hiddenSize] };
    this.#weight = tensorWeight(context, 'norm', offset === 0 ? spec : { ...spec, loader });
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield ['weight', this.#weight.parameter];
  }

  /** (T, hiddenSize) → (T, hiddenSize) */
  forward(x: Tensor): Tensor {
    return this.#context.backend.rmsNorm(x, this.#weight.get(), this.#eps);
  }
}
