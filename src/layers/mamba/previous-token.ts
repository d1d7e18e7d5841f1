import type { Backend } from '../../backends/contract/backend.ts';
import { ArgumentError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { batchRows, keptSequences, prefillSequences } from './batch-rows.ts';
import type { KeptRows, Mamba2Metadata } from './mamba2-metadata.ts';

/**
 * What a layer needs of the token before each: a row of C numbers per slot, that of the slot's last token. A convolution with
 * the taps 1 and 0 gives each token the row of the one before it, and keeps the last one.
 */
export interface PreviousTokenCache {
  /** (slots, C, 1) */
  readonly state: Tensor;
  /** (C, 2): 1 and 0. */
  readonly taps: Tensor;
  /** (slots * tokens, C): rows of the last tentative tokens of each slot. Absent: there is no place for such tokens. */
  readonly kept?: Tensor | undefined;
}

/** Taps of the convolution that {@link PreviousTokenCache} describes. */
export function previousTokenTaps(columns: number): Float32Array {
  return Float32Array.from({ length: 2 * columns }, (_, i) => (i % 2 === 0 ? 1 : 0));
}

/**
 * (T, C) → (T, C): for each row, that of the token before it, which may be one of an earlier step; zeros for a sequence's
 * first. The slots keep the rows of their last tokens.
 */
export function previousTokens(
  backend: Backend,
  x: Tensor,
  { state, taps, kept }: PreviousTokenCache,
  metadata: Mamba2Metadata,
): Tensor {
  const { decodes, prefills, tentative } = batchRows(metadata, x.shape[0]);
  const out = backend.empty(x.shape);
  const part = (t: Tensor, { begin, end }: { readonly begin: number; readonly end: number }) =>
    backend.sliceRows(t, begin, end);
  if (prefills) {
    const sequences = prefillSequences(metadata);
    const rows = { x: part(x, prefills), out: part(out, prefills) };
    backend.causalConv1dFn({ ...sequences, ...rows, weight: taps, convStates: state });
  }
  if (decodes) {
    const rows = { x: part(x, decodes), out: part(out, decodes) };
    const convStateIndices = metadata.decodeSlots;
    backend.causalConv1dUpdate({ ...rows, weight: taps, convState: state, convStateIndices });
  }
  if (tentative && metadata.tentative) {
    const rows = { x: part(x, tentative), out: part(out, tentative) };
    backend.scatterRows(rows.x, metadata.tentative.rows, requireKept(kept));
    const sequences = keptSequences(metadata.tentative, false);
    backend.causalConv1dFn({ ...sequences, ...rows, weight: taps, convStates: state });
  }
  return out;
}

/** Takes tentative tokens that have turned out to count. */
export function advancePreviousTokens(
  backend: Backend,
  { state, taps, kept }: PreviousTokenCache,
  rows: KeptRows,
): void {
  const x = backend.gatherRows(requireKept(kept), rows.rows);
  backend.causalConv1dFn({ ...keptSequences(rows, true), x, weight: taps, convStates: state });
}

/** The rows of the slots' last tokens: (slots, C). */
export function lastTokens(backend: Backend, { state }: PreviousTokenCache): Tensor {
  return backend.reshape(state, state.shape.slice(0, 2));
}

/** @throws ArgumentError where there is no place for rows of tentative tokens. */
function requireKept(kept: Tensor | undefined): Tensor {
  if (kept) return kept;
  throw new ArgumentError(
    'A batch has tentative tokens, but the cache has no place for their rows.',
    'Load the model for speculative decoding.',
  );
}
