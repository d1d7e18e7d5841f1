import type { Backend } from '../../backends/contract/backend.ts';
import type { LogDecayArgs } from '../../backends/contract/state-space.ts';
import { MetadataError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { Mamba2Metadata } from './mamba2-metadata.ts';

/** Consecutive rows of a batch that are of one kind, and their sequences. */
export interface RowsOfKind {
  readonly begin: number;
  readonly end: number;
  readonly firstSequence: number;
  readonly numSequences: number;
}

/** Rows that take the one-step operations and rows that take the sequence operations; undefined where there are none. */
export interface BatchRows {
  readonly decodes: RowsOfKind | undefined;
  readonly prefills: RowsOfKind | undefined;
}

/** @throws MetadataError unless the batch has T rows. */
export function batchRows(metadata: Mamba2Metadata, T: number): BatchRows {
  const { order, numDecodes, numPrefills, numPrefillTokens } = metadata;
  if (numDecodes + numPrefillTokens !== T) {
    throw new MetadataError(
      `The metadata describes ${numDecodes} decode and ${numPrefillTokens} prefill tokens; the hidden states have ${T} rows.`,
      'Build the metadata from the sequences whose tokens the rows are.',
    );
  }
  const decodesFirst = order === 'decode-first';
  const rows = (begin: number, count: number, firstSequence: number, numSequences: number) =>
    numSequences === 0 ? undefined : { begin, end: begin + count, firstSequence, numSequences };
  return {
    decodes: decodesFirst
      ? rows(0, numDecodes, 0, numDecodes)
      : rows(numPrefillTokens, numDecodes, numPrefills, numDecodes),
    prefills: decodesFirst
      ? rows(numDecodes, numPrefillTokens, numDecodes, numPrefills)
      : rows(0, numPrefillTokens, 0, numPrefills),
  };
}

/** Arguments of the sequence operations that say where each sequence's rows and states are. */
export function prefillSequences({ prefillStartLoc, prefillSlots, hasInitialStates }: Mamba2Metadata) {
  return { queryStartLoc: prefillStartLoc, cacheIndices: prefillSlots, hasInitialState: hasInitialStates };
}

/** Fills the rows of `logDecays`, if it was given, of the sequences whose rows these are. */
export function fillLogDecays(
  backend: Backend,
  logDecays: Tensor | undefined,
  { firstSequence, numSequences }: RowsOfKind,
  decays: Omit<LogDecayArgs, 'out'>,
): void {
  if (!logDecays) return;
  backend.logDecaySums({ ...decays, out: backend.sliceRows(logDecays, firstSequence, firstSequence + numSequences) });
}
