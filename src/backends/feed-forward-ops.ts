import type { Tensor } from '../tensor/tensor.ts';
import type { LinearWeight } from './backend.ts';

/**
 * Nonlinearities of feed-forward layers. `gelu` is the exact one, x Φ(x); `gelu_tanh` its approximation by tanh;
 * `relu2` is max(x, 0)².
 */
export const MLP_ACTIVATIONS = ['silu', 'gelu', 'gelu_tanh', 'relu', 'relu2', 'identity'] as const;
export type MlpActivation = (typeof MLP_ACTIVATIONS)[number];

/** How {@link FeedForwardOps.topKRouting} chooses experts and weighs them. */
export interface RoutingOptions {
  /** Experts per token. */
  readonly topK: number;
  /** What makes scores of logits. */
  readonly scoring: 'softmax' | 'sigmoid';
  /** Experts are divided into so many groups of equal size. Default: 1. */
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

/** The operations of feed-forward layers and mixtures of experts. */
export interface FeedForwardOps {
  /** activation(x), element by element. x (T, C). */
  activate(x: Tensor, activation: MlpActivation): Tensor;

  /** activation(gate) * x, element by element. Both (T, C). */
  activateAndMul(gate: Tensor, x: Tensor, activation: MlpActivation): Tensor;

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
