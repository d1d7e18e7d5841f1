import { KV_BLOCK_SIZE } from '../../layers/attention/attention-metadata.ts';

/** Number of sequences that run at the same time, and their length. */
export interface ModelLoad {
  /** Tokens of each sequence. */
  readonly context: number;
  readonly batch: number;
}

/** Bytes of the blocks that the sequences of a load fill. */
export function keysAndValuesBytes(
  { kvBytesPerToken }: { readonly kvBytesPerToken: number },
  { context, batch }: ModelLoad,
): number {
  return batch * Math.ceil(context / KV_BLOCK_SIZE) * KV_BLOCK_SIZE * kvBytesPerToken;
}
