import type { Backend } from '../../../src/backends/contract/backend.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';
import { indices } from './harness.ts';

/** What a slot holds that a sequence must not read: large, so that any leak shows. */
export const STALE = 1e30;

/** One sequence of a packed batch. */
export interface Sequence {
  readonly length: number;
  /** PAD_SLOT_ID for one that only pads. */
  readonly slot: number;
  readonly hasInitialState: boolean;
}

export interface Span extends Sequence {
  readonly begin: number;
  readonly end: number;
}

/** The rows of each sequence when they are packed one after another. */
export function spans(sequences: readonly Sequence[]): Span[] {
  let begin = 0;
  return sequences.map((sequence) => {
    const span = { ...sequence, begin, end: begin + sequence.length };
    begin = span.end;
    return span;
  });
}

export function totalLength(sequences: readonly Sequence[]): number {
  return sequences.reduce((sum, { length }) => sum + length, 0);
}

/** The tensors that describe a packed batch to the prefill operations. */
export function batchTensors(
  backend: Backend,
  sequences: readonly Sequence[],
): { queryStartLoc: Tensor; cacheIndices: Tensor; hasInitialState: Tensor } {
  return {
    queryStartLoc: indices(backend, [0, ...spans(sequences).map(({ end }) => end)]),
    cacheIndices: indices(
      backend,
      sequences.map(({ slot }) => slot),
    ),
    hasInitialState: indices(
      backend,
      sequences.map(({ hasInitialState }) => Number(hasInitialState)),
    ),
  };
}
