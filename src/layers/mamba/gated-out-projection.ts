import type { Tensor } from '../../tensor/tensor.ts';
import { type LinearOptions, RowParallelLinear } from '../linear/linear.ts';
import { plainSum, type RankSum } from '../linear/rank-sum.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import { type Module, type Parameter, prefixed } from '../parameters/parameter.ts';
import { Mixer2RMSNormGated } from './mixer2-rms-norm-gated.ts';

/** Sizes are those of the whole layer, over all ranks. */
export interface GatedOutProjectionOptions extends LinearOptions {
  /** Columns of its input. */
  readonly intermediateSize: number;
  /** Columns of its output. */
  readonly hiddenSize: number;
  readonly normGroups: number;
  /** false: the input is gated but not normalised. */
  readonly useRmsNorm: boolean;
  readonly rmsNormEps: number;
  /** Normalise first, then gate. */
  readonly normBeforeGate: boolean;
}

/**
 * The mixer's last two steps: gated norm, then out-projection.
 *
 * Where the ranks share one group of columns, the norm divides a row by one number, so its division can follow the
 * projection: squares are summed over the ranks together with the projected rows, in one exchange instead of two.
 */
export class GatedOutProjection implements Module {
  readonly #context: LayerContext;
  readonly #norm: Mixer2RMSNormGated;
  readonly #outProj: RowParallelLinear;
  readonly #divideLast: boolean;

  constructor(context: LayerContext, options: GatedOutProjectionOptions) {
    const { intermediateSize, hiddenSize, normGroups, useRmsNorm, rmsNormEps, normBeforeGate } = options;
    this.#context = context;
    this.#norm = new Mixer2RMSNormGated(context, intermediateSize, normGroups, useRmsNorm, rmsNormEps, normBeforeGate);
    this.#outProj = new RowParallelLinear(context, intermediateSize, hiddenSize, options);
    // A bias must not be divided.
    this.#divideLast = this.#norm.sharesOneGroup && !options.bias;
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield* prefixed('norm', this.#norm);
    yield* prefixed('out_proj', this.#outProj, 'outProj');
  }

  /** x, gate (T, intermediateSize / ranks) → (T, hiddenSize), as a sum over the ranks. */
  forwardPartial(x: Tensor, gate: Tensor): RankSum {
    const { group } = this.#context;
    if (!this.#divideLast) return plainSum(group, this.#outProj.forwardPartial(this.#norm.forward(x, gate)));
    const { rows, squareSums } = this.#norm.forwardPartial(x, gate);
    return {
      group,
      summands: [this.#outProj.forwardPartial(rows), squareSums],
      finish: ([projected, sums]) => this.#norm.scale(projected, sums),
    };
  }
}
