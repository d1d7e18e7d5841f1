import {
  type AttentionMetadata,
  attentionInputs,
  blockTableWidth,
  bucketedWidth,
  KV_BLOCK_SIZE,
  type PagedSequence,
} from '../../layers/attention/attention-metadata.ts';
import type { Tensor } from '../../tensor/tensor.ts';

/** What attention layers must know of a batch of decodes, as inputs of a step that a backend can repeat. */
export interface DecodeAttention {
  /** Entries of the block table per sequence: the step depends on it. */
  readonly width: number;
  readonly vectors: readonly Int32Array[];
}

/** @throws MetadataError when a sequence's blocks do not hold its tokens. */
export function decodeAttention(sequences: readonly PagedSequence[]): DecodeAttention {
  const width = bucketedWidth(blockTableWidth(sequences, KV_BLOCK_SIZE));
  const { positions, slotMapping, blockTables, contextLens, queryStartLoc } = attentionInputs(
    sequences,
    KV_BLOCK_SIZE,
    width,
  );
  return { width, vectors: [positions, slotMapping, blockTables, contextLens, queryStartLoc] };
}

/** The metadata of those vectors, once they are tensors. */
export function decodeAttentionMetadata(vectors: readonly Tensor[]): AttentionMetadata {
  const [positions, slotMapping, blockTables, contextLens, queryStartLoc] = vectors;
  return { positions, slotMapping, blockTables, contextLens, queryStartLoc };
}
