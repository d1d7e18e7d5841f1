import type { Tensor } from '../../tensor/tensor.ts';
import {
  checkCacheDTypes,
  checkCacheSlots,
  checkPagedSequences,
  checkRotary,
  keysInSight,
  PAD_CACHE_SLOT,
  type PagedAttentionArgs,
  type ReshapeAndCacheArgs,
} from '../contract/attention.ts';
import { floats, HostKvCache, type HostTensor, hostZeros, ints, vector } from '../contract/host-tensor.ts';
import { headsPerGroup } from '../contract/sequences.ts';

/**
 * Reference of {@link AttentionOps.rotaryTable}.
 *
 * @example
 * ```ts
 * // The angles of positions 0 to 2 for heads of 4 columns, with base 10000.
 * const table = rotaryTable(hostIndices([0, 1, 2]), hostTensor([1, 10000 ** -0.5], [2]), 1);
 * ```
 */
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

/**
 * Reference of {@link AttentionOps.rotaryEmbedding}.
 *
 * @example
 * ```ts
 * const table = rotaryTable(hostIndices([0, 1]), hostTensor([1, 0.01], [2]), 1);
 * const rotated = rotaryEmbedding(hostTensor(new Float32Array(16).fill(1), [2, 8]), table, 4); // two heads of 4
 * ```
 */
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

/**
 * Reference of {@link AttentionOps.reshapeAndCache}.
 *
 * @example
 * ```ts
 * const keyCache = hostZeros([2, 32, 1, 4]); // (blocks, blockSize, H, D)
 * const valueCache = hostZeros([2, 32, 1, 4]);
 * const [key, value] = [hostTensor([1, 2, 3, 4], [1, 4]), hostTensor([5, 6, 7, 8], [1, 4])];
 * reshapeAndCache({ key, value, keyCache, valueCache, slotMapping: hostIndices([32]) }); // starts block 1
 * ```
 */
export function reshapeAndCache({ key, value, keyCache, valueCache, slotMapping }: ReshapeAndCacheArgs): void {
  const caches = [
    floats(keyCache, 'keyCache', [null, null, null, null]),
    floats(valueCache, 'valueCache', keyCache.shape),
  ];
  const [blocks, blockSize, H, D] = keyCache.shape;
  const rows = [floats(key, 'key', [null, H * D]), floats(value, 'value', [key.shape[0], H * D])];
  const slots = ints(slotMapping, 'slotMapping', key.shape[0]);
  checkCacheDTypes({ keyCache, valueCache });
  checkCacheSlots(slots, blocks * blockSize);
  for (const [i, cache] of caches.entries()) {
    slots.forEach((slot, t) => {
      if (slot === PAD_CACHE_SLOT) return;
      const begin = t * rows[i].stride;
      const row = rows[i].data.subarray(begin, begin + H * D);
      const stored = cache instanceof HostKvCache ? cache.rounded(row) : row;
      cache.data.set(stored, Math.floor(slot / blockSize) * cache.stride + (slot % blockSize) * H * D);
    });
  }
}

/**
 * Reference of {@link AttentionOps.pagedAttention}.
 *
 * @example
 * ```ts
 * // One sequence of one token, whose key and value are the first ones of block 0.
 * const out = pagedAttention({
 *   query: hostTensor([1, 0, 0, 0], [1, 4]),
 *   keyCache: hostZeros([1, 32, 1, 4]),
 *   valueCache: hostZeros([1, 32, 1, 4]),
 *   queryStartLoc: hostIndices([0, 1]),
 *   contextLens: hostIndices([1]),
 *   blockTables: hostIndices([0]),
 *   scale: 0.5,
 * });
 * ```
 */
export function pagedAttention(args: PagedAttentionArgs): HostTensor<Float32Array> {
  const { scale } = args;
  const window = keysInSight(args);
  checkCacheDTypes(args);
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
      const end = contextLen - (starts[s + 1] - 1 - t);
      const visible = places.slice(Math.max(0, end - window), end);
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
