import type { Backend } from '../../backends/contract/backend.ts';
import { PAD_SLOT_ID } from '../../backends/contract/sequences.ts';
import { MetadataError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';

/** A sequence's part in a step. */
export interface ScheduledSequence {
  /** Slot in the state cache, or -1 for a sequence that only pads the batch. */
  readonly slot: number;
  /** Tokens whose effect is already in the slot. */
  readonly numComputedTokens: number;
  /** Tokens to process now; 0 is legal. */
  readonly numTokens: number;
  /**
   * Whether the slot stays as it is, because it is not known yet how many of the tokens count: their inputs are kept, for
   * {@link StateSpaceMixer.advance}. Default: false.
   */
  readonly isTentative?: boolean | undefined;
}

/** Sequences and the rows of kept inputs that belong to them: see {@link MambaCacheParams.kept}. */
export interface KeptRows {
  readonly numSequences: number;
  readonly numTokens: number;
  /** (sequences) int32 */
  readonly slots: Tensor;
  /** (sequences) int32, 0 or 1. */
  readonly hasInitialStates: Tensor;
  /** (sequences + 1) int32, from 0 to the number of tokens. */
  readonly startLoc: Tensor;
  /** (tokens) int32: rows of the kept inputs. */
  readonly rows: Tensor;
}

/** Slots whose states lack tokens: see {@link MambaCacheParams.replayed}. */
export interface ReplayedRows {
  /** (slots) int32 */
  readonly slots: Tensor;
  /** (slots) int32: how many tokens each lacks. */
  readonly counts: Tensor;
  /** (slots) int32: positions of the first of them. Only where states are rounded stochastically. */
  readonly positions?: Tensor | undefined;
}

/** Row order of a batch: vLLM V1 puts decodes first, V0 prefills. */
export type BatchOrder = 'decode-first' | 'prefill-first';

/**
 * A batch as the mixer needs to know it, built once per step and shared by all layers.
 * Rows are the tokens of all decodes and all prefills, one kind after the other as `order` says, and then tentative ones.
 */
export interface Mamba2Metadata {
  readonly order: BatchOrder;
  /** Sequences with one token and prior state. */
  readonly numDecodes: number;
  /** All other sequences, but for tentative ones. */
  readonly numPrefills: number;
  readonly numPrefillTokens: number;
  /** (numDecodes) int32 */
  readonly decodeSlots: Tensor;
  /** (numPrefills) int32 */
  readonly prefillSlots: Tensor;
  /** (numPrefills) int32, 0 or 1. */
  readonly hasInitialStates: Tensor;
  /** (numPrefills + 1) int32, counted from the first prefill row. */
  readonly prefillStartLoc: Tensor;
  /** Sequences whose slots stay as they are. Absent: there are none. */
  readonly tentative?: KeptRows | undefined;
  /** (numDecodes) int32: how many tokens the state of each row's slot lacks. Absent: they lack none, and are written. */
  readonly decodeReplayCounts?: Tensor | undefined;
  /** (numDecodes) int32: position of each row's token. Only where states are rounded stochastically. */
  readonly decodePositions?: Tensor | undefined;
  /** (numPrefills) int32: position of each sequence's first token in the batch. Only where states are rounded so. */
  readonly prefillPositions?: Tensor | undefined;
  /** The same, where the backend scans by chunks. */
  readonly scanPositions?: Tensor | undefined;
  readonly chunkSize: number;
}

/**
 * Whether a sequence takes the one-step path. Prior state decides, never the number of tokens alone: a new prompt of
 * one token has nothing in its slot, and must not read what the last owner left there.
 */
export function isDecode(sequence: ScheduledSequence): boolean {
  return sequence.numTokens === 1 && sequence.numComputedTokens > 0 && !sequence.isTentative;
}

/**
 * The sequences in the row order that {@link buildMamba2Metadata} asks for; otherwise their order stays.
 *
 * @example
 * ```ts
 * const prompt = { slot: 1, numComputedTokens: 0, numTokens: 5 };
 * const decode = { slot: 0, numComputedTokens: 12, numTokens: 1 };
 * const ordered = reorderBatch([prompt, decode], 'decode-first'); // [decode, prompt]
 * ```
 */
export function reorderBatch<S extends ScheduledSequence>(sequences: readonly S[], order: BatchOrder): S[] {
  const { decodes, prefills, tentative } = byKind(sequences);
  return [...(order === 'decode-first' ? [...decodes, ...prefills] : [...prefills, ...decodes]), ...tentative];
}

function byKind<S extends ScheduledSequence>(sequences: readonly S[]) {
  return {
    decodes: sequences.filter(isDecode),
    prefills: sequences.filter((sequence) => !isDecode(sequence) && !sequence.isTentative),
    tentative: sequences.filter(({ isTentative }) => isTentative),
  };
}

/**
 * Metadata of a batch of decodes alone, from slots that are tensors already.
 * @param none an int32 tensor of no elements.
 * @param decodes `positions` of the tokens, where states are rounded stochastically; `replayCounts`, where states may lack
 * tokens.
 */
export function decodeMetadata(
  slots: Tensor,
  none: Tensor,
  chunkSize: number,
  decodes: { readonly positions?: Tensor | undefined; readonly replayCounts?: Tensor | undefined } = {},
): Mamba2Metadata {
  return {
    order: 'decode-first',
    numDecodes: slots.shape[0],
    numPrefills: 0,
    numPrefillTokens: 0,
    decodeSlots: slots,
    prefillSlots: none,
    hasInitialStates: none,
    prefillStartLoc: none,
    decodePositions: decodes.positions,
    decodeReplayCounts: decodes.replayCounts,
    chunkSize,
  };
}

/**
 * @param options `withPositions`: as states that are rounded stochastically need them. `countReplayed` gives how many tokens
 * the states of decoding slots lack.
 * @throws MetadataError when the sequences are not in row order, share a slot, or have impossible counts.
 *
 * @example
 * ```ts
 * const decode = { slot: 0, numComputedTokens: 12, numTokens: 1 };
 * const prompt = { slot: 1, numComputedTokens: 0, numTokens: 5 };
 * const metadata = buildMamba2Metadata(backend, [decode, prompt], { chunkSize: 256 }); // six rows
 * ```
 */
export function buildMamba2Metadata(
  backend: Backend,
  sequences: readonly ScheduledSequence[],
  options: {
    readonly order?: BatchOrder;
    readonly chunkSize: number;
    readonly keptTokens?: number | undefined;
    readonly withPositions?: boolean;
    readonly countReplayed?: ((decodes: readonly ScheduledSequence[]) => Int32Array | undefined) | undefined;
  },
): Mamba2Metadata {
  const { order = 'decode-first', chunkSize, keptTokens = 0, withPositions = false, countReplayed } = options;
  checkSequences(sequences, Number.POSITIVE_INFINITY);
  const ordered = reorderBatch(sequences, order);
  if (ordered.some((sequence, i) => sequence !== sequences[i])) {
    throw new MetadataError(`The batch is not ${order}.`, 'Arrange it with reorderBatch before its rows are laid out.');
  }
  const { decodes, prefills, tentative } = byKind(sequences);
  const startLoc = startsOf(prefills);
  const indices = (values: readonly number[] | Int32Array) => backend.tensor(Int32Array.from(values), [values.length]);
  const positions = (of: readonly ScheduledSequence[]) => (withPositions ? indices(of.map(positionOf)) : undefined);
  const replayCounts = countReplayed?.(decodes);
  return {
    order,
    numDecodes: decodes.length,
    numPrefills: prefills.length,
    numPrefillTokens: startLoc[prefills.length],
    decodeSlots: indices(decodes.map(({ slot }) => slot)),
    prefillSlots: indices(prefills.map(({ slot }) => slot)),
    hasInitialStates: indices(prefills.map(({ numComputedTokens }) => (numComputedTokens > 0 ? 1 : 0))),
    prefillStartLoc: indices(startLoc),
    tentative: tentative.length > 0 ? keptRows(backend, tentative, keptTokens) : undefined,
    decodeReplayCounts: replayCounts && indices(replayCounts),
    decodePositions: positions(decodes),
    prefillPositions: positions(prefills),
    scanPositions: backend.promptAlignment ? indices(prefills.map(positionOf)) : undefined,
    chunkSize,
  };
}

/** Position of the first token in the batch. */
function positionOf({ numComputedTokens }: ScheduledSequence): number {
  return numComputedTokens;
}

/**
 * The rows of the kept inputs of sequences' tokens.
 * @param keptTokens rows that each slot has.
 * @throws MetadataError when a sequence has more tokens.
 */
export function keptRows(backend: Backend, sequences: readonly ScheduledSequence[], keptTokens: number): KeptRows {
  const startLoc = startsOf(sequences);
  const rows = new Int32Array(startLoc[sequences.length]);
  for (const [b, { slot, numTokens }] of sequences.entries()) {
    if (numTokens > keptTokens) {
      throw new MetadataError(
        `A sequence has ${numTokens} tentative tokens; inputs of ${keptTokens} are kept.`,
        'Load the model for as many.',
      );
    }
    for (let i = 0; i < numTokens; i++) rows[startLoc[b] + i] = slot * keptTokens + i;
  }
  const indices = (values: Int32Array) => backend.tensor(values, [values.length]);
  return {
    numSequences: sequences.length,
    numTokens: rows.length,
    slots: indices(Int32Array.from(sequences, ({ slot }) => slot)),
    hasInitialStates: indices(Int32Array.from(sequences, ({ numComputedTokens }) => (numComputedTokens > 0 ? 1 : 0))),
    startLoc: indices(startLoc),
    rows: indices(rows),
  };
}

/** Where each sequence's rows begin, and the last end. */
function startsOf(sequences: readonly ScheduledSequence[]): Int32Array {
  const starts = new Int32Array(sequences.length + 1);
  for (const [b, { numTokens }] of sequences.entries()) starts[b + 1] = starts[b] + numTokens;
  return starts;
}

/**
 * @param slots of the state cache.
 * @throws MetadataError when sequences share a slot, name one that is not there, or have impossible counts.
 */
export function checkSequences(sequences: readonly ScheduledSequence[], slots: number): void {
  const used = new Set<number>();
  for (const { slot, numComputedTokens, numTokens } of sequences) {
    const counts = [numComputedTokens, numTokens];
    if (!Number.isInteger(slot) || slot < PAD_SLOT_ID || !counts.every((n) => Number.isInteger(n) && n >= 0)) {
      throw new MetadataError(
        `A sequence has slot ${slot}, ${numComputedTokens} computed tokens and ${numTokens} tokens to process.`,
        'All are whole numbers from 0 on; a padding sequence has slot -1.',
      );
    }
    if (slot === PAD_SLOT_ID) continue;
    if (slot >= slots) {
      throw new MetadataError(`A sequence has slot ${slot} of a cache of ${slots}.`, `Pad with ${PAD_SLOT_ID}.`);
    }
    if (used.has(slot)) throw new MetadataError(`Two sequences of the batch use slot ${slot}.`, 'Give each its own.');
    used.add(slot);
  }
}
