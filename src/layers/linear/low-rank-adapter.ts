import type { Tensor } from '../../tensor/tensor.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import { type Module, type Parameter, prefixed } from '../parameters/parameter.ts';
import type { QuantizationConfig } from '../parameters/quantization.ts';
import type { ShardSpec } from '../parameters/weight-loaders.ts';
import { MergedColumnParallelLinear } from './merged-column-parallel-linear.ts';
import { ReplicatedLinear } from './replicated-linear.ts';

export interface LowRankAdapterOptions {
  readonly inputSize: number;
  readonly rank: number;
  /** Division among the ranks of the columns that the adapter adds to. */
  readonly specs: readonly ShardSpec[];
  readonly prefix: string;
  readonly quantConfig?: QuantizationConfig | undefined;
}

/** y = B (A x), added to a column-parallel projection (arXiv:2106.09685). Its weights are named `0` and `1`. */
export class LowRankAdapter implements Module {
  readonly #into: ReplicatedLinear;
  readonly #out: MergedColumnParallelLinear;

  /** @param context of the layer that it adds to. */
  constructor(context: LayerContext, { inputSize, rank, specs, prefix, quantConfig }: LowRankAdapterOptions) {
    const options = (name: string) => ({ bias: false, prefix: `${prefix}.${name}`, quantConfig });
    this.#into = new ReplicatedLinear(context, inputSize, rank, options('0'));
    this.#out = new MergedColumnParallelLinear(context, rank, [{ name: '1', specs }], options('1'));
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield* prefixed('0', this.#into);
    yield* this.#out.parameters();
  }

  /** (T, inputSize) → (T, this rank's columns) */
  forward(x: Tensor): Tensor {
    return this.#out.forward(this.#into.forward(x));
  }
}
