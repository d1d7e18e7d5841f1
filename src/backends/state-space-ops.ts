import type { Tensor } from '../tensor/tensor.ts';

/** What follows the convolution. `swish` is another name of `silu`. */
export type Activation = 'silu' | 'swish' | 'identity';

/** The slot of a row or sequence that only pads a batch: it reads zeros, writes no state, and its output means nothing. */
export const PAD_SLOT_ID = -1;

/**
 * Arguments of {@link StateSpaceOps.causalConv1dFn}. C channels, K taps, S slots, T tokens, B sequences.
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
  /** (S, C, W), W >= K-1: the last W inputs of each slot's sequence, oldest first. Updated in place. */
  readonly convStates: Tensor;
  /** (B + 1) int32, ascending from 0 to T: sequence b has tokens [queryStartLoc[b], queryStartLoc[b+1]). */
  readonly queryStartLoc: Tensor;
  /** (B) int32: each sequence's slot; default b. No slot may appear twice, except {@link PAD_SLOT_ID}. */
  readonly cacheIndices?: Tensor | undefined;
  /** (B) int32, 0 or 1: whether the slot holds the sequence's past. Default: none does, and the past is zeros. */
  readonly hasInitialState?: Tensor | undefined;
  /** (T, C) */
  readonly out?: Tensor | undefined;
}

/** Arguments of {@link StateSpaceOps.causalConv1dUpdate}. B sequences, L new tokens of each. */
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

/** How step sizes become decays. H heads. */
export interface LogDecayArgs {
  /** Step sizes before bias and softplus: (rows, H). */
  readonly dt: Tensor;
  /** Negative decay rates: (H). */
  readonly A: Tensor;
  /** (H) */
  readonly dtBias?: Tensor | undefined;
  /** Whether Δ = softplus(dt + dtBias). Default: false, as upstream. */
  readonly dtSoftplus?: boolean | undefined;
  /** Δ is clamped to this range last. Default: [0, Infinity]. */
  readonly dtLimit?: readonly [number, number] | undefined;
  /** (B + 1) int32, ascending from 0 to the number of rows. Default: every row is a sequence of its own. */
  readonly queryStartLoc?: Tensor | undefined;
  /** (B, H) */
  readonly out?: Tensor | undefined;
}

/** What the scan and the one-step update share. H heads, P head dim, N state size, G groups; head h uses group h / (H/G). */
export interface SelectiveStateArgs {
  /** (rows, H, P), or (rows, H*P). */
  readonly x: Tensor;
  /** Step sizes before bias and softplus: (rows, H); the one-step update also takes (rows, H, P). */
  readonly dt: Tensor;
  /** Negative decay rates: (H); the one-step update also takes (H, P, N). */
  readonly A: Tensor;
  /** (rows, G, N), or (rows, G*N) with the group count from `nGroups`. */
  readonly B: Tensor;
  /** Like B. */
  readonly C: Tensor;
  /** The number of groups when B and C are given as (rows, G*N). */
  readonly nGroups?: number | undefined;
  /** Skip weights: (H) or (H, P). */
  readonly D?: Tensor | undefined;
  /** Like x: multiplies the output by silu(z). */
  readonly z?: Tensor | undefined;
  /** (H); the one-step update also takes (H, P). */
  readonly dtBias?: Tensor | undefined;
  /** Whether Δ = softplus(dt + dtBias). Default: false, as upstream. */
  readonly dtSoftplus?: boolean | undefined;
  /** Δ is clamped to this range last. Default: [0, Infinity]. */
  readonly dtLimit?: readonly [number, number] | undefined;
  /** Like x. */
  readonly out?: Tensor | undefined;
}

/** Arguments of {@link StateSpaceOps.mambaChunkScan}. */
export interface ChunkScanArgs extends SelectiveStateArgs {
  /** Tokens that a backend may process as one block. It never changes the result beyond rounding. At least 1. */
  readonly chunkSize: number;
  /** (S, H, P, N): the slots' states. Updated in place. */
  readonly ssmStates: Tensor;
  /** (B + 1) int32, ascending from 0 to T. */
  readonly queryStartLoc: Tensor;
  /** (B) int32: each sequence's slot; default b. */
  readonly cacheIndices?: Tensor | undefined;
  /** (B) int32, 0 or 1: whether to start from the slot's state. Default: none does, and the state starts at zero. */
  readonly hasInitialState?: Tensor | undefined;
}

/** Arguments of {@link StateSpaceOps.selectiveStateUpdate}. */
export interface SelectiveStateUpdateArgs extends SelectiveStateArgs {
  /** (S, H, P, N). Updated in place. */
  readonly state: Tensor;
  /** (rows) int32: each row's slot; default: the row's own number. */
  readonly stateBatchIndices?: Tensor | undefined;
}

/** The operations that make a state-space layer, under the names of the CUDA and Triton kernels that the field knows. */
export interface StateSpaceOps {
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
   * The same convolution for the next token, or few, of sequences that are all in the cache (decode). A padded row
   * passes through unchanged.
   */
  causalConv1dUpdate(args: CausalConv1dUpdateArgs): Tensor;

  /**
   * The selective state-space recurrence over packed sequences (prefill), per sequence and head, h (P, N):
   *
   *     Δ_t = clamp(softplus(dt_t + dtBias))
   *     h_t = exp(A Δ_t) h_{t-1} + Δ_t x_t ⊗ B_t
   *     y_t = h_t C_t + D x_t,  then y_t *= silu(z_t)
   *     ssmStates[slot] = h_last
   *
   * A backend may compute it in chunks (the SSD form of Mamba-2, arXiv:2405.21060 section 6), which never cross a
   * sequence. A padded sequence starts from zero and leaves no state; an empty one changes nothing.
   */
  mambaChunkScan(args: ChunkScanArgs): Tensor;

  /**
   * How much the states of packed sequences decay over their tokens, as a logarithm: per sequence and head
   *
   *     out = Σ_t min(A Δ_t, 0)
   *
   * so that the scan leaves exp(out) of the state it began with. (B, H); 0 for an empty sequence. It sums in the order
   * of the tokens, with Δ as {@link StateSpaceOps.mambaChunkScan} has it. Upstream: the end of `dA_cumsum`.
   */
  logDecaySums(args: LogDecayArgs): Tensor;

  /** One step of that recurrence for each row, from the row's slot and back into it (decode). Padded rows read zeros. */
  selectiveStateUpdate(args: SelectiveStateUpdateArgs): Tensor;
}
