import { ArgumentError, MetadataError, ShapeError } from '../../errors.ts';
import type { StateStorage } from '../../tensor/state-dtype.ts';
import { formatShape, type Tensor } from '../../tensor/tensor.ts';
import type { ConvolutionOps } from './convolution.ts';
import { ints } from './host-tensor.ts';
import { PAD_SLOT_ID, slotsOrDefault } from './sequences.ts';

/** Arguments that turn step sizes into decays, for H heads. */
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

/** Arguments that the scan and the one-step update share. H heads, P head dim, N state size, G groups; head h uses group h / (H/G). */
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

/**
 * Stochastic rounding of states of 16 bits: a value becomes one of its two neighbours, with the probability that makes it
 * the mean. The choice depends on the layer, the token's position and the place in the state alone, so it is the same
 * however the sequence is split, and however ranks divide the heads.
 */
export interface StochasticRounding {
  /** 32 bits that tell layers apart. */
  readonly key: number;
  /**
   * Where the states begin in the layer's state over all ranks: rows (heads times P) of the ranks before this one.
   * Default: 0.
   */
  readonly firstRow?: number | undefined;
  /** (B) int32: position in its sequence of the first token of each. */
  readonly positions: Tensor;
}

/** Arguments of {@link StateSpaceOps.mambaChunkScan}. */
export interface ChunkScanArgs extends SelectiveStateArgs {
  /** Tokens that a backend may process as one block. It never changes the result beyond rounding. At least 1. */
  readonly chunkSize: number;
  /** (S, H, P, N): the slots' states, of any dtype that `zeros` takes. Updated in place, see `keepState`. */
  readonly ssmStates: Tensor;
  /** (B + 1) int32, ascending from 0 to T. */
  readonly queryStartLoc: Tensor;
  /** (B) int32: each sequence's slot; default b. */
  readonly cacheIndices?: Tensor | undefined;
  /** (B) int32, 0 or 1: whether to start from the slot's state. Default: none does, and the state starts at zero. */
  readonly hasInitialState?: Tensor | undefined;
  /**
   * (B) int32: position in its sequence of the first token of each. A backend that computes in chunks begins them at
   * multiples of their length, so that a sequence has the same ones wherever it is split. Default: not known, and such a
   * backend takes the tokens one after another.
   */
  readonly positions?: Tensor | undefined;
  /** Whether the slots get the states after these tokens. False: they stay as they are. Default: true. */
  readonly keepState?: boolean | undefined;
  /** How states of 16 bits are rounded. Default: to the nearest value. */
  readonly rounding?: StochasticRounding | undefined;
}

/** Arguments of {@link StateSpaceOps.selectiveStateUpdate}. */
export interface SelectiveStateUpdateArgs extends SelectiveStateArgs {
  /** (S, H, P, N), of any dtype that `zeros` takes. Updated in place. */
  readonly state: Tensor;
  /** (rows) int32: each row's slot; default: the row's own number. */
  readonly stateBatchIndices?: Tensor | undefined;
  /**
   * Tokens that the slots' states lack: they are computed first. A slot that lacks L of them gets its state, those that lack
   * fewer keep theirs, and the row's inputs join the kept ones. dt is (rows, H). Only on backends with `replay`. The results
   * have the same bits. Default: states lack nothing, and are written.
   */
  readonly replay?: Replay | undefined;
  /** How states of 16 bits are rounded. Default: to the nearest value. */
  readonly rounding?: StochasticRounding | undefined;
}

/** The most tokens that a slot's state may lack. */
export const MOST_REPLAYED = 31;

/**
 * Tokens that slots' states do not have yet. A step that decodes computes them again from their inputs, and leaves the state
 * as it is, so that it is written only now and then (vLLM: ReplaySSM).
 */
export interface Replay {
  /** (S * L, H*P + G*N + H): x, B and dt of up to L tokens of each slot, the oldest first. Updated in place. */
  readonly inputs: Tensor;
  /** (rows) int32, 0 to L: how many tokens the state of each row's slot lacks. */
  readonly counts: Tensor;
}

/** Arguments of {@link ReplayOps.takeReplayed}. */
export interface TakeReplayedArgs extends Pick<SelectiveStateArgs, 'A' | 'dtBias' | 'dtSoftplus' | 'dtLimit'> {
  /** (S, H, P, N), of any dtype that `zeros` takes. Updated in place. */
  readonly state: Tensor;
  /** (rows) int32: slots; default: the row's own number. */
  readonly stateBatchIndices?: Tensor | undefined;
  readonly replay: Replay;
  /** How states of 16 bits are rounded, with the position of each row's first replayed token. Default: to the nearest. */
  readonly rounding?: StochasticRounding | undefined;
}

/** Decoding from states that lack some tokens, whose inputs are kept. */
export interface ReplayOps {
  /**
   * The steps of decoding after which a state is best written: 1, it is in each. Undefined where such states can't be
   * replayed.
   */
  stepsOf(state: ReplayedState): number | undefined;

  /** Rows of a step from which on that is so: fewer write their states. */
  readonly fewestRows: number;

  /** Takes the tokens that rows' slots lack into their states. Padded rows, and rows that lack none, change nothing. */
  takeReplayed(args: TakeReplayedArgs): void;
}

/** The form of a layer's state. */
export interface ReplayedState extends StateStorage {
  /** H, P, N */
  readonly shape: readonly [number, number, number];
}

/** The operations that make a state-space layer, under the names of the CUDA and Triton kernels that the field knows. */
export interface StateSpaceOps extends ConvolutionOps {
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
   *
   * States of 16 bits are rounded after every token, and y_t is of the state before it is rounded: so a sequence has the
   * same states prefilled as decoded, and wherever it is split. A backend that computes in chunks may round only after
   * each of them, or where a call ends.
   */
  mambaChunkScan(args: ChunkScanArgs): Tensor;

  /**
   * Decay of the states of packed sequences over their tokens, as a logarithm: per sequence and head
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

/** @throws ArgumentError unless it is a number of tokens. */
export function checkChunkSize(chunkSize: number): void {
  if (Number.isInteger(chunkSize) && chunkSize >= 1) return;
  throw new ArgumentError(`chunkSize is ${chunkSize}.`, 'Use a whole number of tokens from 1 on.');
}

/** The places of a call's replayed tokens, checked. */
export interface ReplayPlaces {
  /** L */
  readonly most: number;
  /** G */
  readonly groups: number;
  /** Columns of x and of B; dt follows. */
  readonly columns: readonly [number, number];
}

/**
 * @param nGroups where the call knows it.
 * @throws ShapeError, MetadataError, ArgumentError
 */
export function checkReplay(
  { inputs, counts }: Replay,
  state: Tensor,
  rows: number,
  slots: Tensor | undefined,
  nGroups?: number,
): ReplayPlaces {
  const [S, H, P, N] = state.shape;
  const [height, width] = inputs.shape;
  const groups = nGroups ?? (width - H * P - H) / N;
  const most = height / S;
  const isLaidOut = inputs.shape.length === 2 && width === H * P + groups * N + H && groups >= 1;
  if (!isLaidOut || !Number.isInteger(groups) || !Number.isInteger(most)) {
    throw new ShapeError(
      `Inputs to replay have shape ${formatShape(inputs.shape)} for states of ${formatShape(state.shape)}.`,
      'They have as many rows for each slot, and columns for x, B and dt.',
    );
  }
  if (most < 1 || most > MOST_REPLAYED) {
    throw new ArgumentError(`Each slot has inputs of ${most} tokens.`, `Replay 1 to ${MOST_REPLAYED} tokens.`);
  }
  const known = ints(counts, 'counts', rows);
  const used = slotsOrDefault(slots, 'stateBatchIndices', rows);
  const wrong = known.findIndex((count, b) => used[b] !== PAD_SLOT_ID && !(count >= 0 && count <= most));
  if (wrong >= 0) {
    throw new MetadataError(`Slot ${used[wrong]} lacks ${known[wrong]} tokens; inputs of ${most} are kept.`);
  }
  return { most, groups, columns: [H * P, groups * N] };
}

/** @throws ArgumentError unless dt has a value for each head, as the kept inputs do. */
export function checkReplayedStep(dt: Tensor): void {
  if (dt.shape.length === 2) return;
  throw new ArgumentError(`dt has shape ${formatShape(dt.shape)}.`, 'Replayed steps have one dt for each head.');
}
