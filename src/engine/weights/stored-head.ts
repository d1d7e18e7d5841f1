import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import { yieldToEventLoop } from '../../distributed/event-loop.ts';
import type { ModelDefinition } from '../../models/causal-lm.ts';
import { HEAD } from '../../models/tied-head.ts';

/** Bytes that are compared at a time. A URL gives as much with one request. */
const BLOCK_BYTES = 2 ** 24;

export interface ComparisonOptions {
  /** Compares the first rows only, for a remote model: trained tables differ from the first row on. Default: false. */
  readonly firstBlockOnly?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Warning about a config that is wrong about the model's head. */
export const OWN_HEAD_WARNING =
  "config.json ties the output head to the embeddings, but the weights hold an 'lm_head.weight' with other values. " +
  'That head is used. Set tie_word_embeddings to false in config.json to say so.';

/**
 * Whether the checkpoint has an output head of its own although its config ties the head to the embeddings: trainers leave
 * that flag as it was. The two tables are compared to the end, or to the first block that differs.
 */
export async function hasOwnHead(
  definition: ModelDefinition,
  checkpoint: Checkpoint,
  options: ComparisonOptions = {},
): Promise<boolean> {
  if (!definition.config.tieWordEmbeddings) return false;
  // In the order of the data.
  const tables = checkpoint
    .names()
    .filter((name) => name === HEAD || definition.parameterName(name) === definition.embeddings);
  // One alone is both.
  const isOwn = tables.length === 2 && !(await areEqual(checkpoint, [tables[0], tables[1]], options));
  for (const name of tables) checkpoint.tensor(name).release?.();
  return isOwn;
}

/** Whether two tables have the same values in the rows that both have. Further rows of one table are padding. */
async function areEqual(
  checkpoint: Checkpoint,
  [first, second]: readonly [string, string],
  { firstBlockOnly = false, signal }: ComparisonOptions,
): Promise<boolean> {
  const [a, b] = [checkpoint.tensor(first), checkpoint.tensor(second)];
  if (a.shape.length !== 2 || b.shape.length !== 2 || a.shape[1] !== b.shape[1]) return false;
  const blockRows = Math.max(1, Math.ceil(BLOCK_BYTES / (2 * a.shape[1])));
  const end = Math.min(a.shape[0], b.shape[0], firstBlockOnly ? blockRows : Number.POSITIVE_INFINITY);
  const read = (name: string, firstRow: number) => {
    const range = { firstRow, rows: Math.min(blockRows, end - firstRow) };
    return a.dtype === b.dtype ? checkpoint.readBytes(name, range) : valueBytes(checkpoint, name, range);
  };
  // If going back in the file is expensive, the first table is kept until the second comes.
  const window = a.file === b.file && a.isSequential ? end : blockRows;
  for (let begin = 0; begin < end; begin += window) {
    const held: Uint8Array[] = [];
    const windowEnd = Math.min(begin + window, end);
    for (let row = begin; row < windowEnd; row += blockRows) {
      signal?.throwIfAborted();
      held.push(await read(first, row));
    }
    for (const [i, block] of held.entries()) {
      signal?.throwIfAborted();
      await yieldToEventLoop();
      if (!sameBytes(block, await read(second, begin + i * blockRows))) return false;
    }
  }
  return true;
}

async function valueBytes(
  checkpoint: Checkpoint,
  name: string,
  range: { readonly firstRow: number; readonly rows: number },
): Promise<Uint8Array> {
  const values = await checkpoint.readFloat32(name, range);
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  const words = Math.floor(a.length / 4);
  const [x, y] = [new Int32Array(a.buffer, a.byteOffset, words), new Int32Array(b.buffer, b.byteOffset, words)];
  for (let i = 0; i < words; i++) if (x[i] !== y[i]) return false;
  for (let i = 4 * words; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
