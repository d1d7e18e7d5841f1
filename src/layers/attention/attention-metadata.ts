import { PAD_CACHE_SLOT, type PagedSequences } from '../../backends/contract/attention.ts';
import type { Backend } from '../../backends/contract/backend.ts';
import { PAD_SLOT_ID } from '../../backends/contract/sequences.ts';
import { stepTensors } from '../../backends/contract/steps.ts';
import { MetadataError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { Mamba2Metadata, ScheduledSequence } from '../mamba/mamba2-metadata.ts';

/** Tokens per block of the key-value cache. */
export const KV_BLOCK_SIZE = 32;

/** A sequence's part in a step of a model with attention. */
export interface PagedSequence extends ScheduledSequence {
  /** Blocks of the key-value cache in order of position, for all tokens up to those of this step. */
  readonly blocks?: readonly number[] | undefined;
}

/** A batch as attention layers need to know it, built once per step for all of them. T rows of S sequences. */
export interface AttentionMetadata extends PagedSequences {
  /** (T) int32: each token's position in its sequence. */
  readonly positions: Tensor;
  /** (T) int32: each token's place in the cache. */
  readonly slotMapping: Tensor;
  /** (T) int32: the place of the token before each. Only for a model with layers of its own that guess tokens. */
  readonly previousSlots?: Tensor | undefined;
}

/** A batch as a model's layers need to know it. */
export interface BatchMetadata extends Mamba2Metadata {
  /** Present if the model has attention layers. */
  readonly attention?: AttentionMetadata | undefined;
}

/** Vectors of {@link AttentionMetadata} as host data. */
export type AttentionInputs = {
  readonly positions: Int32Array;
  readonly slotMapping: Int32Array;
  readonly previousSlots: Int32Array | undefined;
  readonly blockTables: Int32Array;
  readonly contextLens: Int32Array;
  readonly queryStartLoc: Int32Array;
};

/** Parts of a batch's layout that depend on the model, and on how steps are repeated. */
export interface AttentionLayout {
  /** Entries of the block table per sequence. Default: as many as the longest needs. */
  readonly width?: number | undefined;
  /** Whether to give the places of the tokens before each. Default: false. */
  readonly withPrevious?: boolean | undefined;
}

/**
 * Lays out a batch whose rows are the sequences' tokens, one after another.
 * @throws MetadataError when a sequence's blocks do not hold its tokens.
 */
export function attentionInputs(
  sequences: readonly PagedSequence[],
  blockSize: number,
  { width = blockTableWidth(sequences, blockSize), withPrevious = false }: AttentionLayout = {},
): AttentionInputs {
  const T = sequences.reduce((sum, { numTokens }) => sum + numTokens, 0);
  const S = sequences.length;
  const inputs = {
    positions: new Int32Array(T),
    slotMapping: new Int32Array(T).fill(PAD_CACHE_SLOT),
    previousSlots: withPrevious ? new Int32Array(T).fill(PAD_CACHE_SLOT) : undefined,
    blockTables: new Int32Array(S * width),
    contextLens: new Int32Array(S),
    queryStartLoc: new Int32Array(S + 1),
  };
  let row = 0;
  for (const [s, sequence] of sequences.entries()) {
    const { slot, numComputedTokens, numTokens } = sequence;
    const begin = row;
    row += numTokens;
    inputs.queryStartLoc[s + 1] = row;
    if (slot === PAD_SLOT_ID) continue;
    const blocks = blocksOf(sequence, blockSize);
    inputs.contextLens[s] = numComputedTokens + numTokens;
    inputs.blockTables.set(blocks, s * width);
    const placeOf = (position: number) => blocks[Math.floor(position / blockSize)] * blockSize + (position % blockSize);
    for (let i = 0; i < numTokens; i++) {
      const position = numComputedTokens + i;
      inputs.positions[begin + i] = position;
      inputs.slotMapping[begin + i] = placeOf(position);
      if (inputs.previousSlots && position > 0) inputs.previousSlots[begin + i] = placeOf(position - 1);
    }
  }
  return inputs;
}

/** Blocks of the longest sequence. */
export function blockTableWidth(sequences: readonly PagedSequence[], blockSize: number): number {
  return sequences.reduce((most, sequence) => Math.max(most, blocksNeeded(sequence, blockSize)), 0);
}

/**
 * Lays out a batch of decodes for a step that a backend can repeat: the block table's width, on which the step depends, is
 * a power of two, so that it rarely changes.
 * @throws MetadataError when a sequence's blocks do not hold its tokens.
 */
export function decodeAttentionInputs(
  sequences: readonly PagedSequence[],
  blockSize: number,
  layout: AttentionLayout = {},
): AttentionInputs {
  const width = layout.width ?? blockTableWidth(sequences, blockSize);
  const repeated = width <= 1 ? width : 2 ** Math.ceil(Math.log2(width));
  return attentionInputs(sequences, blockSize, { ...layout, width: repeated });
}

/** Metadata of a batch from host data. */
export function buildAttentionMetadata(
  backend: Backend,
  sequences: readonly PagedSequence[],
  blockSize: number,
  layout?: AttentionLayout,
): AttentionMetadata {
  return stepTensors(attentionInputs(sequences, blockSize, layout), (values) =>
    backend.tensor(values, [values.length]),
  );
}

/** The blocks that hold a sequence's tokens, without any beyond. */
function blocksOf(sequence: PagedSequence, blockSize: number): readonly number[] {
  const needed = blocksNeeded(sequence, blockSize);
  const blocks = (sequence.blocks ?? []).slice(0, needed);
  if (blocks.length === needed && blocks.every((block) => Number.isInteger(block) && block >= 0)) return blocks;
  throw new MetadataError(
    `A sequence of ${sequence.numComputedTokens} + ${sequence.numTokens} tokens has the blocks [${blocks.join(', ')}].`,
    `It needs ${needed} of ${blockSize} tokens each.`,
  );
}

function blocksNeeded({ slot, numComputedTokens, numTokens }: PagedSequence, blockSize: number): number {
  return slot === PAD_SLOT_ID ? 0 : Math.ceil((numComputedTokens + numTokens) / blockSize);
}
