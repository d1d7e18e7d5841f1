import { ArgumentError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { MlpActivation } from './activations.ts';
import type { LinearWeight } from './linear.ts';

/** Options of {@link ExpertOps.topKRouting}: which experts it chooses, and how it weights them. */
export interface RoutingOptions {
  /** Experts per token. */
  readonly topK: number;
  /** Function that turns logits into scores. */
  readonly scoring: 'softmax' | 'sigmoid';
  /** Number of groups of equal size into which experts are divided. Default: 1. */
  readonly numGroups?: number | undefined;
  /** Only experts of this many groups are chosen: those whose best two choices sum highest. Default: all groups. */
  readonly topKGroups?: number | undefined;
  /** Whether a token's weights are divided by their sum. */
  readonly renormalize: boolean;
  /** Factor of all weights. Default: 1. */
  readonly scale?: number | undefined;
}

/** One expert: down(activation(gate x) * up x), or down(activation(up x)) without a gate. */
export interface ExpertWeights {
  /** Gated: (2I, C), gate before up. Otherwise (I, C). */
  readonly up: LinearWeight;
  /** (C, I) */
  readonly down: LinearWeight;
}

/** Operations of mixtures of experts. */
export interface ExpertOps {
  /**
   * Each token's weight for every expert, 0 for those that it does not visit:
   *
   *     scores = softmax or sigmoid of the logits; choice = scores + correctionBias
   *     the topK highest choices of the best groups are visited, equal ones in order of experts
   *     weights = scores, / (their sum + 1e-20) if renormalised, * scale
   *
   * @param logits (T, E)
   * @param correctionBias (E): moves the choice, not the weights (arXiv:2408.15664).
   * @returns (T, E)
   */
  topKRouting(logits: Tensor, options: RoutingOptions, correctionBias?: Tensor): Tensor;

  /**
   * Σ_e routing[t, e] * expert_e(x[t]) over the experts with a weight, in ascending order.
   * @param x (T, C)
   * @param routing (T, E) of {@link topKRouting}.
   * @param experts E of them, all of one shape.
   * @param gated whether their `up` holds a gate.
   * @returns (T, C of the experts' outputs)
   */
  fusedMoe(
    x: Tensor,
    routing: Tensor,
    experts: readonly ExpertWeights[],
    activation: MlpActivation,
    gated: boolean,
  ): Tensor;
}

/** @throws ArgumentError unless E experts have such groups, with enough experts to choose from. */
export function checkRouting(E: number, { topK, numGroups = 1, topKGroups = numGroups }: RoutingOptions): void {
  const groupSize = E / numGroups;
  const whole = [topK, numGroups, topKGroups, groupSize].every((n) => Number.isInteger(n) && n >= 1);
  if (whole && topKGroups <= numGroups && topK <= topKGroups * groupSize) return;
  throw new ArgumentError(
    `${topK} of ${E} experts can't be chosen from ${topKGroups} of ${numGroups} groups.`,
    'Groups divide the experts, and hold as many as are chosen.',
  );
}

/**
 * Columns of the experts' outputs.
 * @throws ArgumentError unless all have the same shapes, which fit each other and rows of C columns.
 */
export function checkExperts(experts: readonly ExpertWeights[], C: number, gated: boolean): number {
  if (experts.length === 0) throw new ArgumentError('The mixture has no experts.', 'Pass at least one.');
  const [{ up, down }] = experts;
  const fit = up.inFeatures === C && up.outFeatures === (gated ? 2 : 1) * down.inFeatures;
  const alike = experts.every(
    (expert) =>
      expert.up.outFeatures === up.outFeatures &&
      expert.up.inFeatures === C &&
      expert.down.outFeatures === down.outFeatures &&
      expert.down.inFeatures === down.inFeatures,
  );
  if (fit && alike) return down.outFeatures;
  throw new ArgumentError(
    `The experts' matrices do not fit rows of ${C} columns or each other.`,
    `up is (${gated ? '2 I' : 'I'}, ${C}) and down (columns, I), with one I for all.`,
  );
}
