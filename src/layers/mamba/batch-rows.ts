import type { Backend } from '../../backends/contract/backend.ts';
import type {
  LogDecayArgs,
  Replay,
  StochasticRounding,
  TakeReplayedArgs,
} from '../../backends/contract/state-space.ts';
import { MetadataError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { hashOf, mix } from '../../util/hash.ts';
import type { KeptRows, Mamba2Metadata, ReplayedRows } from './mamba2-metadata.ts';
import { type MambaCacheParams, requireKept } from './state-space-mixer.ts';

/** Consecutive rows of a batch that are of one kind, and their sequences. */
export interface RowsOfKind {
  readonly begin: number;
  readonly end: number;
  readonly firstSequence: number;
  readonly numSequences: number;
}

/**
 * Rows that take the one-step operations, rows that take the sequence operations, and those of them that leave no state;
 * undefined where there are none.
 */
export interface BatchRows {
  readonly decodes: RowsOfKind | undefined;
  readonly prefills: RowsOfKind | undefined;
  readonly tentative: RowsOfKind | undefined;
}

/** @throws MetadataError unless the batch has T rows. */
export function batchRows(metadata: Mamba2Metadata, T: number): BatchRows {
  const { order, numDecodes, numPrefills, numPrefillTokens, tentative } = metadata;
  const { numTokens = 0, numSequences = 0 } = tentative ?? {};
  const numUsual = numDecodes + numPrefillTokens;
  if (numUsual + numTokens !== T) {
    const counts = `${numDecodes} decode, ${numPrefillTokens} prefill and ${numTokens} tentative tokens`;
    throw new MetadataError(
      `The metadata describes ${counts}; the hidden states have ${T} rows.`,
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
    tentative: rows(numUsual, numTokens, numDecodes + numPrefills, numSequences),
  };
}

/** Arguments of the sequence operations that say where each sequence's rows and states are. */
export interface SequenceArgs {
  readonly queryStartLoc: Tensor;
  readonly cacheIndices: Tensor;
  readonly hasInitialState: Tensor;
  readonly keepState?: boolean;
}

export interface ScanArgs extends SequenceArgs {
  readonly chunkSize: number;
  /** Positions of the sequences' first rows, where states are rounded stochastically. */
  readonly roundingPositions?: Tensor | undefined;
  /** The same, where the backend scans by chunks. */
  readonly positions?: Tensor | undefined;
}

export function prefillSequences({ prefillStartLoc, prefillSlots, hasInitialStates }: Mamba2Metadata): SequenceArgs {
  return { queryStartLoc: prefillStartLoc, cacheIndices: prefillSlots, hasInitialState: hasInitialStates };
}

/** @param keepState whether the slots get the states after these rows. */
export function keptSequences({ startLoc, slots, hasInitialStates }: KeptRows, keepState: boolean): SequenceArgs {
  return { queryStartLoc: startLoc, cacheIndices: slots, hasInitialState: hasInitialStates, keepState };
}

/** Puts the inputs of tentative rows aside. @throws ArgumentError where there is no place for them. */
export function keepInputs(
  backend: Backend,
  cache: MambaCacheParams,
  inputs: readonly Tensor[],
  { rows }: KeptRows,
): void {
  for (const [i, into] of requireKept(cache).entries()) backend.scatterRows(inputs[i], rows, into);
}

/** The inputs that were put aside for these rows. @throws ArgumentError where there is no place for them. */
export function keptInputs(backend: Backend, cache: MambaCacheParams, { rows }: KeptRows): Tensor[] {
  return requireKept(cache).map((kept) => backend.gatherRows(kept, rows));
}

/**
 * The tokens that decoding rows' slots lack, where they may lack some.
 * @param counts how many: see {@link Mamba2Metadata.decodeReplayCounts}.
 */
export function replayOf({ replayed }: MambaCacheParams, counts: Tensor | undefined): Replay | undefined {
  return replayed && counts && { inputs: replayed, counts };
}

/** Takes the tokens that slots lack into a layer's states. */
export function takeReplayed(
  backend: Backend,
  { ssmState, replayed }: MambaCacheParams,
  { slots, counts, positions }: ReplayedRows,
  decays: Pick<TakeReplayedArgs, 'A' | 'dtBias' | 'dtSoftplus' | 'dtLimit'>,
  rounded: RoundedRows,
): void {
  if (!replayed) return;
  backend.replay?.takeReplayed({
    ...decays,
    state: ssmState,
    stateBatchIndices: slots,
    replay: { inputs: replayed, counts },
    rounding: stochasticRounding(rounded, positions),
  });
}

/** What tells the states of a layer's share on a rank apart from others, where they are rounded stochastically. */
export type RoundedRows = Pick<StochasticRounding, 'key' | 'firstRow'>;

/** @param firstRow rows (heads times P) of the ranks before this one. */
export function roundedRows(prefix: string, firstRow: number): RoundedRows {
  return { key: layerKey(prefix), firstRow };
}

/** The rounding of a layer's states, where it is stochastic. */
export function stochasticRounding(rows: RoundedRows, positions: Tensor | undefined): StochasticRounding | undefined {
  return positions && { ...rows, positions };
}

/** 32 bits that tell a layer apart from the model's others, by its name in the whole model. */
function layerKey(prefix: string): number {
  return mix(hashOf(prefix, 0));
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
