import type { GroupLayout } from '../../backends/contract/norms.ts';
import { ArgumentError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import type { Module, Parameter } from '../parameters/parameter.ts';
import { tensorWeight, type Weight } from '../parameters/weight.ts';
import { divide, shardedWeightLoader } from '../parameters/weight-loaders.ts';

/**
 * The mixer's output norm: gate first, v = x * silu(gate), then RMSNorm over each of the groups of v's columns.
 *
 * With several ranks each holds fullHiddenSize / ranks columns. Where whole groups lie on a rank, the norm is local.
 * Otherwise (one group, or groups that straddle ranks) the ranks sum their squares per group, which is a (T, groups)
 * exchange instead of the whole row. With one group even that needs no exchange of its own: the norm only scales a row,
 * so it can follow the projection that comes next, see {@link forwardPartial}.
 *
 * @example
 * ```ts
 * const norm = new Mixer2RMSNormGated(context, 512, 1);
 * new ParameterTable(norm).load('weight', new Float32Array(512).fill(1));
 * const y = norm.forward(hiddenStates, hiddenStates); // x and its gate
 * ```
 */
export class Mixer2RMSNormGated implements Module {
  readonly #context: LayerContext;
  readonly #useRmsNorm: boolean;
  readonly #eps: number;
  readonly #normBeforeGate: boolean;
  readonly #isLocal: boolean;
  readonly #groups: number;
  readonly #layout: GroupLayout;
  readonly #weight: Weight<Tensor>;

  /**
   * @param fullHiddenSize columns over all ranks.
   * @param fullNGroups groups of the whole row, without those that sharding repeats.
   * @param useRmsNorm false: only the gate is applied, and there is no weight.
   * @param normBeforeGate the norm first, then the gate: transformers does so in Falcon-H1 where the config says so.
   */
  constructor(
    context: LayerContext,
    fullHiddenSize: number,
    fullNGroups: number,
    useRmsNorm = true,
    eps = 1e-6,
    normBeforeGate = false,
  ) {
    if (fullHiddenSize % fullNGroups !== 0) {
      throw new ArgumentError(
        `A gated norm over ${fullHiddenSize} columns can't have ${fullNGroups} groups.`,
        'The groups divide the columns.',
      );
    }
    const { size, rank } = context.group;
    this.#context = context;
    this.#useRmsNorm = useRmsNorm;
    this.#eps = eps;
    this.#normBeforeGate = normBeforeGate;
    const ownSize = divide(fullHiddenSize, size, 'The gated norm');
    const groupSize = fullHiddenSize / fullNGroups;
    this.#isLocal = fullNGroups % size === 0;
    this.#groups = this.#isLocal ? fullNGroups / size : fullNGroups;
    this.#layout = { firstColumn: this.#isLocal ? 0 : rank * ownSize, groupSize };
    this.#weight = tensorWeight(context, 'norm', {
      owner: 'A Mixer2RMSNormGated',
      shape: [fullHiddenSize],
      ownShape: [ownSize],
      loader: shardedWeightLoader(0, size, rank),
    });
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    if (this.#useRmsNorm) yield ['weight', this.#weight.parameter];
  }

  /** Whether the ranks exchange squares of rows that are one group each. */
  get sharesOneGroup(): boolean {
    return this.#useRmsNorm && !this.#isLocal && this.#groups === 1 && !this.#normBeforeGate;
  }

  /**
   * The norm without its division by the root of the row's mean square, where ranks share one group. The sums of squares
   * (T, 1), once they are summed over the ranks, go to {@link scale} with any linear function of the rows.
   */
  forwardPartial(x: Tensor, gate: Tensor): { readonly rows: Tensor; readonly squareSums: Tensor } {
    const { backend } = this.#context;
    const v = backend.siluGate(x, gate);
    const squareSums = backend.groupSquareSums(v, 1, this.#layout);
    return { rows: backend.mulColumns(v, this.#weight.get()), squareSums };
  }

  /** The division that {@link forwardPartial} left out. */
  scale(rows: Tensor, squareSums: Tensor): Tensor {
    return this.#context.backend.scaleRows(rows, squareSums, this.#layout.groupSize, this.#eps);
  }

  /** x, gate (T, fullHiddenSize / ranks) → the same shape. */
  forward(x: Tensor, gate: Tensor): Tensor {
    const { backend } = this.#context;
    if (!this.#useRmsNorm) return backend.siluGate(x, gate);
    return this.#normBeforeGate ? backend.siluGate(this.#norm(x), gate) : this.#norm(backend.siluGate(x, gate));
  }

  #norm(v: Tensor): Tensor {
    const { backend, group } = this.#context;
    const ownSums = backend.groupSquareSums(v, this.#groups, this.#layout);
    const squareSums = this.#isLocal ? ownSums : backend.allReduce([ownSums], group)[0];
    return backend.scaleByGroupNorm(v, squareSums, this.#weight.get(), this.#eps, this.#layout);
  }
}
