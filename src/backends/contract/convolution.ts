import { ArgumentError, MetadataError, ShapeError } from '../../errors.ts';
import { formatShape, type Tensor } from '../../tensor/tensor.ts';

/** Activation after the convolution. `swish` is another name of `silu`. */
export type Activation = 'silu' | 'swish' | 'identity';

/**
 * Arguments of {@link ConvolutionOps.causalConv1dFn}. C channels, K taps, S slots, T tokens, B sequences.
 */
export interface CausalConv1dArgs {
  /** (T, C): the sequences' tokens one after another. */
  readonly x: Tensor;
  /** (C, K); tap K-1 multiplies the current token. */
  readonly weight: Tensor;
  /** (C) */
  readonly bias?: Tensor | undefined;
  /** Default: identity. */
  readonly activation?: Activation | undefined;
  /** (S, C, W), W >= K-1: the last W inputs of each slot's sequence, oldest first. Updated in place, see `keepState`. */
  readonly convStates: Tensor;
  /** (B + 1) int32, ascending from 0 to T: sequence b has tokens [queryStartLoc[b], queryStartLoc[b+1]). */
  readonly queryStartLoc: Tensor;
  /** (B) int32: each sequence's slot; default b. No slot may appear twice, except {@link PAD_SLOT_ID}. */
  readonly cacheIndices?: Tensor | undefined;
  /** (B) int32, 0 or 1: whether the slot holds the sequence's past. Default: none does, and the past is zeros. */
  readonly hasInitialState?: Tensor | undefined;
  /** Whether the slots get the inputs of these tokens. False: they stay as they are. Default: true. */
  readonly keepState?: boolean | undefined;
  /** (T, C) */
  readonly out?: Tensor | undefined;
}

/** Arguments of {@link ConvolutionOps.causalConv1dUpdate}. B sequences, L new tokens of each. */
export interface CausalConv1dUpdateArgs {
  /** (B, C), or (B, L, C) for several tokens a sequence. */
  readonly x: Tensor;
  /** (S, C, W), W >= K-1. Updated in place. */
  readonly convState: Tensor;
  /** (C, K) */
  readonly weight: Tensor;
  /** (C) */
  readonly bias?: Tensor | undefined;
  /** Default: identity. */
  readonly activation?: Activation | undefined;
  /** (B) int32: each row's slot; default b. */
  readonly convStateIndices?: Tensor | undefined;
  /**
   * (B) int32: tokens each sequence has seen. With it the state is a ring buffer: token number n lies at n mod W.
   * Without it the state is shifted, newest last, which is also how causalConv1dFn leaves it.
   */
  readonly cacheSeqlens?: Tensor | undefined;
  /** Like x. */
  readonly out?: Tensor | undefined;
}

/** The convolution of a state-space layer, under the names of the CUDA kernels that the field knows. */
export interface ConvolutionOps {
  /**
   * Causal depthwise convolution over packed sequences (prefill), with their past from a cache:
   *
   *     xx = [past K-1 inputs | x[begin..end)]                 per sequence and channel
   *     out[t] = activation(bias + Σ_w weight[w] * xx[t + w])
   *     convStates[slot] = the last W entries of [past | x]
   *
   * A padded sequence's rows pass through unchanged. An empty sequence changes nothing.
   * Source: Dao-AILab/causal-conv1d; vLLM `csrc/mamba/causal_conv1d`.
   */
  causalConv1dFn(args: CausalConv1dArgs): Tensor;

  /**
   * That convolution for the next token or tokens of sequences that are all in the cache (decode). A padded row
   * passes through unchanged.
   */
  causalConv1dUpdate(args: CausalConv1dUpdateArgs): Tensor;
}

/** @throws MetadataError on a negative count of tokens that a sequence has seen. */
export function checkSeenTokens(cacheSeqlens: Int32Array): void {
  if (cacheSeqlens.every((count) => count >= 0)) return;
  throw new MetadataError(`cacheSeqlens is [${Array.from(cacheSeqlens).join(', ')}].`, 'It counts tokens, from 0 on.');
}

/** Number of past inputs in a conv state. @throws ArgumentError, ShapeError unless K taps find enough of them. */
export function checkStateWidth(states: Tensor, K: number): number {
  if (!(K >= 1))
    throw new ArgumentError(`The convolution has ${K} taps.`, 'weight is (channels, taps) with at least one tap.');
  const W = states.shape[2];
  if (W < K - 1) {
    throw new ShapeError(
      `The conv state has shape ${formatShape(states.shape)}, ${W} past inputs for ${K} taps.`,
      `Keep at least ${K - 1}.`,
    );
  }
  return W;
}
