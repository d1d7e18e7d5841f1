import type { GroupLayout } from '../../backends/contract/norms.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import type { Module, Parameter } from '../parameters/parameter.ts';
import { tensorWeight, type Weight } from '../parameters/weight.ts';
import { type ShardSpec, stackedWeightLoader } from '../parameters/weight-loaders.ts';

/** Sizes of a {@link HeadNorm}. */
export interface HeadNormOptions {
  /** Division of the heads' columns among the ranks. */
  readonly spec: ShardSpec;
  readonly headDim: number;
  readonly eps: number;
}

/** x / sqrt(mean(x²) + eps) * weight over each head, whose weights are its own. */
export class HeadNorm implements Module {
  readonly #context: LayerContext;
  readonly #name: string;
  readonly #eps: number;
  readonly #layout: GroupLayout;
  readonly #heads: number;
  /** (heads of this rank * headDim) */
  readonly #weight: Weight<Tensor>;

  /** @param name of the weight (heads, headDim) in the checkpoint. */
  constructor(context: LayerContext, name: string, { spec, headDim, eps }: HeadNormOptions) {
    const { size, rank } = context.group;
    const heads = { fullDim: spec.fullDim / headDim, extra: spec.extra / headDim, blockSize: 1 };
    this.#context = context;
    this.#name = name;
    this.#eps = eps;
    this.#layout = { firstColumn: 0, groupSize: headDim };
    this.#heads = heads.fullDim / size;
    this.#weight = tensorWeight(context, 'norm', {
      owner: 'A HeadNorm',
      shape: [heads.fullDim - heads.extra, headDim],
      ownShape: [this.#heads * headDim],
      loader: stackedWeightLoader([heads], size, rank),
    });
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield [this.#name, { ...this.#weight.parameter, part: 'attention' }];
  }

  /** (T, heads * headDim) → the same shape. */
  forward(x: Tensor): Tensor {
    const { backend } = this.#context;
    const squareSums = backend.groupSquareSums(x, this.#heads, this.#layout);
    return backend.scaleByGroupNorm(x, squareSums, this.#weight.get(), this.#eps, this.#layout);
  }
}
