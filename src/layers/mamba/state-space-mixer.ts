import { ArgumentError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { Module } from '../parameters/parameter.ts';
import type { MambaStateShape, MambaStateSize } from './mamba-state-shape.ts';

/** One layer's state for all slots, on one rank. */
export interface MambaCacheParams {
  /** (slots, channels, K - 1) */
  readonly convState: Tensor;
  /** (slots, heads, P, N) */
  readonly ssmState: Tensor;
  /** (sequences, heads), in the order of the rows: gets how much each state decays in the step, see `logDecaySums`. */
  readonly logDecays?: Tensor | undefined;
}

/** A layer with a state of constant size per sequence. */
export interface StateSpaceMixer extends Module {
  /** Sizes that decide this layer's state, over all ranks. */
  readonly stateSize: MambaStateSize;
  /** Shapes of one sequence's state in this layer, on this rank. */
  getStateShape(): MambaStateShape;
}

/** @throws ArgumentError where there is metadata but no cache. */
export function requireCache(cache: MambaCacheParams | undefined): MambaCacheParams {
  if (cache) return cache;
  throw new ArgumentError('There is metadata but no state cache.', 'Pass both, or neither for a profile run.');
}
