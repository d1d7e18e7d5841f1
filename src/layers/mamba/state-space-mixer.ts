import { ArgumentError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { Module } from '../parameters/parameter.ts';
import type { MambaStateShape, MambaStateSize } from './mamba-state-shape.ts';
import type { KeptRows, ReplayedRows } from './mamba2-metadata.ts';

/** One layer's state for all slots, on one rank. */
export interface MambaCacheParams {
  /** (slots, channels, K - 1) */
  readonly convState: Tensor;
  /** (slots, heads, P, N) */
  readonly ssmState: Tensor;
  /**
   * (slots * tokens, width) for each of {@link StateSpaceMixer.keptWidths}: inputs of the last tentative tokens of each slot,
   * which its state does not have yet. Absent: there is no place for such tokens.
   */
  readonly kept?: readonly Tensor[] | undefined;
  /**
   * (slots * tokens, replayWidth): inputs of the tokens that each slot's state lacks, see `Replay`. Absent: it lacks none, and
   * is written in each step.
   */
  readonly replayed?: Tensor | undefined;
  /** (sequences, heads), in the order of the rows: gets how much each state decays in the step, see `logDecaySums`. */
  readonly logDecays?: Tensor | undefined;
}

/** A layer with a state of constant size per sequence. */
export interface StateSpaceMixer extends Module {
  /** Sizes that decide this layer's state, over all ranks. */
  readonly stateSize: MambaStateSize;
  /** Shapes of one sequence's state in this layer, on this rank. */
  getStateShape(): MambaStateShape;
  /** Columns, on this rank, of what its state needs to know of a token. */
  readonly keptWidths: readonly number[];
  /** Columns, on this rank, of the inputs by which a token is taken into its state again. */
  readonly replayWidth: number;
  /** Takes the tokens that slots' states lack into them: what else reads or writes the states needs that first. */
  takeReplayed(cache: MambaCacheParams, rows: ReplayedRows): void;
  /** Takes tentative tokens into the slots' states, from their kept inputs: no weights are multiplied. */
  advance(cache: MambaCacheParams, rows: KeptRows, chunkSize: number): void;
}

/** @throws ArgumentError where there is metadata but no cache. */
export function requireCache(cache: MambaCacheParams | undefined): MambaCacheParams {
  if (cache) return cache;
  throw new ArgumentError('There is metadata but no state cache.', 'Pass both, or neither for a profile run.');
}

/** @throws ArgumentError where there is no place for inputs of tentative tokens. */
export function requireKept({ kept }: MambaCacheParams): readonly Tensor[] {
  if (kept) return kept;
  throw new ArgumentError(
    'A batch has tentative tokens, but the cache has no place for their inputs.',
    'Load the model for speculative decoding.',
  );
}
