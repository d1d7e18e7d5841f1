import type { Tensor } from '../../tensor/tensor.ts';
import type { MlpActivation } from './activations.ts';
import type { ExpertOps } from './experts.ts';

/** The operations of feed-forward layers and mixtures of experts. */
export interface FeedForwardOps extends ExpertOps {
  /** activation(x), element by element. x (T, C). */
  activate(x: Tensor, activation: MlpActivation): Tensor;

  /** activation(gate) * x, element by element. Both (T, C). */
  activateAndMul(gate: Tensor, x: Tensor, activation: MlpActivation): Tensor;
}
