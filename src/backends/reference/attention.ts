import { ArgumentError, MetadataError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { PAD_CACHE_SLOT, type PagedAttentionArgs, type ReshapeAndCacheArgs } from '../attention-ops.ts';
import { floats, type HostTensor, hostZeros, ints, vector } from './host-tensor.ts';
import { checkQueryStartLoc, headsPerGroup } from './indices.ts';

/** Reference of {@link AttentionOps.rotaryTable}. */
export function rotaryTable(positions: Tensor, inverseFrequencies: Tensor, scale: number): HostTensor<Float32Array> {
  const rows = ints(positions, 'positions', null);
  const frequencies = vector(inverseFrequencies, 'inverseFrequencies', null);
  const half = frequencies.length;
  const out = hostZeros([rows.length, 2 * half]);
  rows.forEach((position, t) => {
    frequencies.forEach((frequency, i) => {
      // transformers multiplies in float32, which shows at large positions.
      const angle = Math.fround(position * frequency);
      out.data[t * 2 * half + i] = Math.cos(angle) * scale;
      out.data[t * 2 * half + half + i] = Math.sin(angle) * scale;
    });
  });
  return out;
}

/** Reference of {@link AttentionOps.rotaryEmbedding}. */
export function rotaryEmbedding(x: Tensor, table: Tensor, headDim: number): HostTensor<Float32Array> {
  const [T, C] = x.shape;
  const values = floats(x, 'x', [null, null]);
  const angles = floats(table, 'table', [T, null]);
  const R = table.shape[1];
  checkRotary(C, R, headDim);
  const half = R / 2;
  const out = hostZeros([T, C]);
  for (let t = 0; t < T; t++) {
    const cosines = angles.data.subarray(t * angles.stride, t * angles.stride + half);
    const sines = angles.data.subarray(t * angles.stride + half, t * angles.stride + R);
    for (let begin = 0; begin < C; begin += headDim) {
      const head = values.data.subarray(t * values.stride + begin, t * values.stride + begin + headDim);
      const rotated = out.data.subarray(t * C + begin, t * C + begin + headDim);
      rotated.set(head);
      for (let i = 0; i < half; i++) {
        rotated[i] = head[i] * cosines[i] - head[i + half] * sines[i];
        rotated[i + half] = head[i + half] * cosines[i] + head[i] * sines[i];
      }
    }
  }
  return out;
}

/** @throws ArgumentError unless C columns are whole heads of which R columns can be rotated. */
export function checkRotary(C: number, R: number, headDim: number): void {
  if (headDim > 0 && C % headDim === 0 && R % 2 === 0 && R <= headDim) return;
  throw new ArgumentError(
    `${R} columns of heads of ${headDim} can't be rotated in rows of ${C}.`,
    'Rows are whole heads, and the rotated columns an even number of at most a head.',
  );
}

/** Reference of {@link AttentionOps.reshapeAndCache}. */
export function reshapeAndCache({ key, value, keyCache, valueCache, slotMapping }: ReshapeAndCacheArgs): void {
  const caches = [
    floats(keyCache, 'keyCache', [null, null, null, null]),
    floats(valueCache, 'valueCache', keyCache.shape),
  ];
  const [blocks, blockSize, H, D] = keyCache.shape;
  const rows = [floats(key, 'key', [null, H * D]), floats(value, 'value', [key.shape[0], H * D])];
  const slots = ints(slotMapping, 'slotMapping', key.shape[0]);
  checkCacheSlots(slots, blocks * blockSize);
  for (const [i, cache] of caches.entries()) {
    slots.forEach((slot, t) => {
      if (slot === PAD_CACHE_SLOT) return;
      const begin = t * rows[i].stride;
      const row = rows[i].data.subarray(begin, begin + H * D);
      cache.data.set(row, Math.floor(slot / blockSize) * cache.stride + (slot % blockSize) * H * D);
    });
  }
}

/** @throws MetadataError on a cache slot that is not there, or that two tokens have. */
export function checkCacheSlots(slots: Int32Array, count: number): void {
  const used = new Set<number>();
  for (const slot of slots) {
    if (slot === PAD_CACHE_SLOT) continue;
    if (slot < 0 || slot >= count) {
      throw new MetadataError(`slotMapping names place ${slot} of a cache of ${count} tokens.`);
    }
    if (used.has(slot)) throw new MetadataError(`slotMapping names place ${slot} twice.`);
    used.add(slot);
  }
}

/** Reference of {@link AttentionOps.pagedAttention}. */
export function pagedAttention(args: PagedAttentionArgs): HostTensor<Float32Array> {
  const { scale } = args;
  const keys = floats(args.keyCache, 'keyCache', [null, null, null, null]);
  const values = floats(args.valueCache, 'valueCache', keys.shape);
  const [, blockSize, kvHeads, D] = keys.shape;
  const query = floats(args.query, 'query', [null, null]);
  const [T, C] = query.shape;
  const heads = C / D;
  const share = headsPerGroup(heads, kvHeads);
  const { starts, contextLens, blockTables, width } = checkPagedSequences(args, T, keys.shape);
  const out = hostZeros([T, C]);
  for (const [s, contextLen] of contextLens.entries()) {
    if (contextLen === 0) continue;
    const places = Array.from({ length: contextLen }, (_, j) => ({
      block: blockTables[s * width + Math.floor(j / blockSize)],
      offset: (j % blockSize) * kvHeads * D,
    }));
    for (let t = starts[s]; t < starts[s + 1]; t++) {
      const visible = places.slice(0, contextLen - (starts[s + 1] - 1 - t));
      for (let h = 0; h < heads; h++) {
        const column = Math.floor(h / share) * D;
        const q = query.data.subarray(t * query.stride + h * D, t * query.stride + (h + 1) * D);
        const scores = visible.map(({ block, offset }) => {
          const begin = block * keys.stride + offset + column;
          return q.reduce((sum, value, d) => sum + value * keys.data[begin + d], 0) * scale;
        });
        const most = scores.reduce((a, b) => Math.max(a, b));
        const weights = scores.map((score) => Math.exp(score - most));
        const total = weights.reduce((a, b) => a + b);
        for (let d = 0; d < D; d++) {
          out.data[t * C + h * D + d] = visible.reduce(
            (sum, { block, offset }, j) =>
              sum + (weights[j] / total) * values.data[block * values.stride + offset + column + d],
            0,
          );
        }
      }
    }
  }
  return out;
}

/**
 * The sequences of a batch of T rows, checked against a cache of this shape.
 * @throws ShapeError, MetadataError
 */
export function checkPagedSequences(
  {
    queryStartLoc,
    contextLens,
    blockTables,
  }: Pick<PagedAttentionArgs, 'queryStartLoc' | 'contextLens' | 'blockTables'>,
  T: number,
  [blocks, blockSize]: readonly number[],
): {
  readonly starts: Int32Array;
  readonly contextLens: Int32Array;
  readonly blockTables: Int32Array;
  /** Entries of the table per sequence. */
  readonly width: number;
} {
  const starts = checkQueryStartLoc(queryStartLoc, T);
  const count = starts.length - 1;
  const lengths = ints(contextLens, 'contextLens', count);
  const tables = ints(blockTables, 'blockTables', null);
  const width = count === 0 ? 0 : tables.length / count;
  if (!Number.isInteger(width)) {
    throw new MetadataError(`blockTables has ${tables.length} entries for ${count} sequences.`, 'Give each as many.');
  }
  for (const [s, length] of lengths.entries()) {
    const rows = starts[s + 1] - starts[s];
    const needed = Math.ceil(length / blockSize);
    if (length < 0 || (length > 0 && length < rows) || needed > width) {
      throw new MetadataError(
        `A sequence has ${rows} rows, a context of ${length} tokens and ${width} blocks of ${blockSize}.`,
        'The context holds the rows, and the blocks hold the context.',
      );
    }
    const used = tables.subarray(s * width, s * width + needed);
    const wrong = used.find((block) => block < 0 || block >= blocks);
    if (wrong !== undefined) throw new MetadataError(`blockTables names block ${wrong} of a cache of ${blocks}.`);
  }
  return { starts, contextLens: lengths, blockTables: tables, width };
}
