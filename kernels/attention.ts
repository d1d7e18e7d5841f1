// Causal softmax attention over a paged cache of keys and values. Those of 16 and 8 bits are widened a tile at a time, for
// all rows that pass it together.
//
// A row, one head of one token, meets its keys in tiles of absolute positions, 0 to 31, 32 to 63 and so on. Per tile it
// keeps its greatest score, the sum of its weights and their sum of values, and rescales what came before (online
// softmax, arXiv:1805.02867). Scores sum over the head in lanes, weights over a tile in lanes, values over keys in
// ascending order. None of it depends on other rows, so a row has the same bits however its prompt is cut, whatever else
// is in the batch, and whatever the size of a block.
//
// Rows of up to 16 tokens pass a tile together: key heads inside, so that the cache is read from end to end, and the
// query heads that share one innermost, so that they share what was read.

import { KV_FLOAT32, kvBytes, widenKvRow } from './kv-values';
import { exp4, madd, sumLanes } from './math';

/** Keys per tile. */
const TILE: i32 = 32;
/** Tokens that pass a tile together. */
const TOKENS: i32 = 16;
/** Rows whose scores are computed before their values are summed. */
const ROWS: i32 = 4;
/** Bytes of the eight partial sums of a score. */
const PARTIAL: usize = 32;

/** Offsets of scratch memory, in the order in which they lie there. */
const SCALES: usize = 64;
const WEIGHTS: usize = SCALES + (ROWS << 2);
const PARTIALS: usize = WEIGHTS + ((ROWS * TILE) << 2);
const TILES: usize = PARTIALS + <usize>(ROWS * TILE) * PARTIAL;

/** Floats of a head's row in scratch memory: whole pairs of vectors. */
// @ts-ignore: decorator
@inline
function padded(D: i32): i32 {
  return (D + 7) & ~7;
}

/** Bytes of scratch memory for {@link pagedAttention}. */
export function attentionScratch(heads: i32, D: i32): usize {
  const headBytes = <usize>padded(D) << 2;
  const rows: usize = TOKENS * heads;
  return TILES + 2 * TILE * headBytes + rows * (2 * headBytes + 8);
}

/**
 * Caches are (blocks, blockSize, kvHeads, D), blocks `keyBlock` and `valueBlock` bytes apart. Sequence s has rows
 * [starts[s], starts[s + 1]), contextLens[s] tokens with them, and `width` entries of the table. A token sees its own key
 * and the `window - 1` before it. `format`: of the caches, as in kv-values.ts.
 */
export function pagedAttention(
  query: usize, queryStride: usize, keys: usize, keyBlock: usize, values: usize, valueBlock: usize, blockSize: i32,
  starts: usize, contextLens: usize, tables: usize, sequences: i32, width: i32,
  out: usize, outStride: usize, heads: i32, kvHeads: i32, D: i32, scale: f32, window: i32, format: i32, scratch: usize,
): void {
  for (let s = 0; s < sequences; s++) {
    const begin = load<i32>(starts), end = load<i32>(starts, 4);
    const context = load<i32>(contextLens);
    for (let row = begin; row < end; row += TOKENS) {
      const tokens = min(TOKENS, end - row);
      const to = out + <usize>row * outStride;
      if (context == 0) {
        for (let t = 0; t < tokens; t++) memory.fill(to + <usize>t * outStride, 0, <usize>(heads * D) << 2);
        continue;
      }
      attendTokens(
        query + <usize>row * queryStride, queryStride, keys, keyBlock, values, valueBlock, blockSize, tables,
        context - (end - row), tokens, to, outStride, heads / kvHeads, kvHeads, D, scale, window, format, scratch,
      );
    }
    starts += 4;
    contextLens += 4;
    tables += <usize>width << 2;
  }
}

/** Up to {@link TOKENS} tokens of one sequence, the first of which has position `first`. */
function attendTokens(
  query: usize, queryStride: usize, keys: usize, keyBlock: usize, values: usize, valueBlock: usize, blockSize: i32,
  table: usize, first: i32, tokens: i32, out: usize, outStride: usize, share: i32, kvHeads: i32, D: i32, scale: f32,
  window: i32, format: i32, scratch: usize,
): void {
  const headBytes = <usize>padded(D) << 2;
  const valueBytes = kvBytes(format);
  const tokenBytes = <usize>(kvHeads * D) * valueBytes;
  const rows = tokens * share;
  const allRows: usize = kvHeads * rows;
  const tileKeys = scratch + TILES, tileValues = tileKeys + <usize>TILE * headBytes;
  const q = tileValues + <usize>TILE * headBytes, sums = q + allRows * headBytes;
  const most = sums + allRows * headBytes, totals = most + (allRows << 2);
  takeQueries(query, queryStride, q, headBytes, tokens, share, kvHeads, D, scale);
  memory.fill(sums, 0, allRows * headBytes);
  memory.fill(totals, 0, allRows << 2);
  for (let r: usize = 0; r < allRows; r++) store<f32>(most + (r << 2), -Infinity);

  const isDirect = format == KV_FLOAT32 && (D & 7) == 0 && blockSize % TILE == 0;
  const visible = first + tokens;
  window = min(window, visible);
  for (let position = max(0, first - window + 1) & -TILE; position < visible; position += TILE) {
    const block = <usize>load<i32>(table + (<usize>(position / blockSize) << 2));
    const offset = <usize>(position % blockSize) * tokenBytes;
    for (let g = 0; g < kvHeads; g++) {
      const head = <usize>(g * D) * valueBytes;
      let k = keys + block * keyBlock + offset + head, v = values + block * valueBlock + offset + head;
      if (!isDirect) {
        const count = min(TILE, visible - position);
        packTile(keys + head, keyBlock, blockSize, table, position, count, tokenBytes, D, format, tileKeys, headBytes);
        packTile(values + head, valueBlock, blockSize, table, position, count, tokenBytes, D, format, tileValues, headBytes);
        k = tileKeys;
        v = tileValues;
      }
      const stride = isDirect ? tokenBytes : headBytes;
      let t = max(0, position - first);
      const end = min(tokens, position + TILE - 1 + window - first);
      while (t < end) {
        // Tokens before the tile's last key see a part of it, each its own, and so do those whose windows begin in it.
        const at = first + t;
        const unseen = max(0, at - window + 1 - position);
        const isWhole = at >= position + TILE - 1 && unseen == 0;
        const next = isWhole ? min(end, position + window - first) : t + 1;
        const r: usize = g * rows + t * share;
        attendRows(
          q + r * headBytes, sums + r * headBytes, most + (r << 2), totals + (r << 2), (next - t) * share,
          k, v, stride, unseen, min(TILE, at - position + 1), headBytes, scratch,
        );
        t = next;
      }
    }
  }
  giveResults(sums, totals, headBytes, out, outStride, tokens, share, kvHeads, D);
}

/** Queries times `scale`, by key head, then token, then query head; padding is zeros. */
function takeQueries(
  query: usize, queryStride: usize, q: usize, headBytes: usize, tokens: i32, share: i32, kvHeads: i32, D: i32, scale: f32,
): void {
  for (let g = 0; g < kvHeads; g++) {
    for (let t = 0; t < tokens; t++) {
      let from = query + <usize>t * queryStride + (<usize>(g * share * D) << 2);
      for (let i = 0; i < share; i++) {
        let d = 0;
        for (; d + 4 <= D; d += 4) {
          v128.store(q + (<usize>d << 2), f32x4.mul(v128.load(from + (<usize>d << 2)), f32x4.splat(scale)));
        }
        for (; d < D; d++) store<f32>(q + (<usize>d << 2), load<f32>(from + (<usize>d << 2)) * scale);
        memory.fill(q + (<usize>D << 2), 0, headBytes - (<usize>D << 2));
        from += <usize>D << 2;
        q += headBytes;
      }
    }
  }
}

/** Sums of values divided by those of weights, where each head belongs. */
function giveResults(
  sums: usize, totals: usize, headBytes: usize, out: usize, outStride: usize, tokens: i32, share: i32, kvHeads: i32, D: i32,
): void {
  for (let g = 0; g < kvHeads; g++) {
    for (let t = 0; t < tokens; t++) {
      let to = out + <usize>t * outStride + (<usize>(g * share * D) << 2);
      for (let i = 0; i < share; i++) {
        const total = load<f32>(totals);
        let d = 0;
        for (; d + 4 <= D; d += 4) {
          v128.store(to + (<usize>d << 2), f32x4.div(v128.load(sums + (<usize>d << 2)), f32x4.splat(total)));
        }
        for (; d < D; d++) store<f32>(to + (<usize>d << 2), load<f32>(sums + (<usize>d << 2)) / total);
        to += <usize>D << 2;
        sums += headBytes;
        totals += 4;
      }
    }
  }
}

/** A head's keys or values of consecutive positions, in float32, one after another, each padded with zeros. */
function packTile(
  cache: usize, blockBytes: usize, blockSize: i32, table: usize, position: i32, count: i32, tokenBytes: usize, D: i32,
  format: i32, to: usize, headBytes: usize,
): void {
  const bytes = <usize>D << 2;
  for (let j = position; j < position + count; j++) {
    const block = <usize>load<i32>(table + (<usize>(j / blockSize) << 2));
    const from = cache + block * blockBytes + <usize>(j % blockSize) * tokenBytes;
    if (format == KV_FLOAT32) memory.copy(to, from, bytes);
    else widenKvRow(from, to, D, format);
    memory.fill(to + bytes, 0, headBytes - bytes);
    to += headBytes;
  }
}

/** Rows that share a key head and see the same keys of a tile, `count` without the first `unseen`. */
function attendRows(
  q: usize, sums: usize, most: usize, totals: usize, rows: i32, k: usize, v: usize, stride: usize, unseen: i32,
  count: i32, headBytes: usize, scratch: usize,
): void {
  const scales = scratch + SCALES, weights = scratch + WEIGHTS, partials = scratch + PARTIALS;
  const rowBytes = <usize>TILE * PARTIAL;
  // Scores are computed by fours, and values summed from the first seen one on.
  const skipped = unseen & ~3, scored = count - skipped;
  const seen = count - unseen, seenWeights = weights + (<usize>unseen << 2);
  k += <usize>skipped * stride;
  v += <usize>unseen * stride;
  for (; rows > 0; rows -= ROWS) {
    const n = min(rows, ROWS);
    let r = 0;
    for (; r + 2 <= n; r += 2) {
      scorePair(q + <usize>r * headBytes, headBytes, k, stride, scored, partials + <usize>r * rowBytes, rowBytes);
    }
    if (r < n) scoreOne(q + <usize>r * headBytes, headBytes, k, stride, scored, partials + <usize>r * rowBytes);
    for (r = 0; r < n; r++) {
      const at = <usize>r << 2, own = weights + (<usize>(r * TILE) << 2);
      sumPartials(partials + <usize>r * rowBytes, scored, own + (<usize>skipped << 2));
      softmax(own, unseen, count, most + at, totals + at, scales + at);
    }
    if (n == ROWS) weighFour(sums, headBytes, v, stride, seen, seenWeights, scales);
    else for (r = 0; r < n; r++) weighOne(sums + <usize>r * headBytes, 0, headBytes, v, stride, seen, seenWeights + (<usize>(r * TILE) << 2), scales + (<usize>r << 2));
    q += <usize>ROWS * headBytes;
    sums += <usize>ROWS * headBytes;
    most += ROWS << 2;
    totals += ROWS << 2;
  }
}

/** Eight sums of products for each of two rows and all keys, of columns d with the same d mod 8. Takes four keys at a time. */
function scorePair(q: usize, headBytes: usize, k: usize, stride: usize, count: i32, to: usize, rowBytes: usize): void {
  const zero = f32x4.splat(0);
  for (let j = 0; j < count; j += 4) {
    let k0 = k, k1 = k0 + stride, k2 = k1 + stride, k3 = k2 + stride;
    let x = q, y = q + headBytes;
    const end = y;
    let a0 = zero, a1 = zero, a2 = zero, a3 = zero, a4 = zero, a5 = zero, a6 = zero, a7 = zero;
    let b0 = zero, b1 = zero, b2 = zero, b3 = zero, b4 = zero, b5 = zero, b6 = zero, b7 = zero;
    while (x < end) {
      const x0 = v128.load(x), x1 = v128.load(x, 16);
      const y0 = v128.load(y), y1 = v128.load(y, 16);
      let u0 = v128.load(k0), u1 = v128.load(k0, 16);
      a0 = madd(u0, x0, a0);
      a1 = madd(u1, x1, a1);
      b0 = madd(u0, y0, b0);
      b1 = madd(u1, y1, b1);
      u0 = v128.load(k1), u1 = v128.load(k1, 16);
      a2 = madd(u0, x0, a2);
      a3 = madd(u1, x1, a3);
      b2 = madd(u0, y0, b2);
      b3 = madd(u1, y1, b3);
      u0 = v128.load(k2), u1 = v128.load(k2, 16);
      a4 = madd(u0, x0, a4);
      a5 = madd(u1, x1, a5);
      b4 = madd(u0, y0, b4);
      b5 = madd(u1, y1, b5);
      u0 = v128.load(k3), u1 = v128.load(k3, 16);
      a6 = madd(u0, x0, a6);
      a7 = madd(u1, x1, a7);
      b6 = madd(u0, y0, b6);
      b7 = madd(u1, y1, b7);
      x += 32;
      y += 32;
      k0 += 32;
      k1 += 32;
      k2 += 32;
      k3 += 32;
    }
    store8(to, a0, a1, a2, a3, a4, a5, a6, a7);
    store8(to + rowBytes, b0, b1, b2, b3, b4, b5, b6, b7);
    to += 4 * PARTIAL;
    k += stride << 2;
  }
}

/** The same of one row. */
function scoreOne(q: usize, headBytes: usize, k: usize, stride: usize, count: i32, to: usize): void {
  const zero = f32x4.splat(0);
  const end = q + headBytes;
  for (let j = 0; j < count; j += 4) {
    let k0 = k, k1 = k0 + stride, k2 = k1 + stride, k3 = k2 + stride;
    let a0 = zero, a1 = zero, a2 = zero, a3 = zero, a4 = zero, a5 = zero, a6 = zero, a7 = zero;
    for (let x = q; x < end; x += 32) {
      const x0 = v128.load(x), x1 = v128.load(x, 16);
      a0 = madd(v128.load(k0), x0, a0);
      a1 = madd(v128.load(k0, 16), x1, a1);
      a2 = madd(v128.load(k1), x0, a2);
      a3 = madd(v128.load(k1, 16), x1, a3);
      a4 = madd(v128.load(k2), x0, a4);
      a5 = madd(v128.load(k2, 16), x1, a5);
      a6 = madd(v128.load(k3), x0, a6);
      a7 = madd(v128.load(k3, 16), x1, a7);
      k0 += 32;
      k1 += 32;
      k2 += 32;
      k3 += 32;
    }
    store8(to, a0, a1, a2, a3, a4, a5, a6, a7);
    to += 4 * PARTIAL;
    k += stride << 2;
  }
}

// @ts-ignore: decorator
@inline
function store8(to: usize, a: v128, b: v128, c: v128, d: v128, e: v128, f: v128, g: v128, h: v128): void {
  v128.store(to, a);
  v128.store(to, b, 16);
  v128.store(to, c, 32);
  v128.store(to, d, 48);
  v128.store(to, e, 64);
  v128.store(to, f, 80);
  v128.store(to, g, 96);
  v128.store(to, h, 112);
}

/** The eight sums of each score → the score. */
function sumPartials(from: usize, count: i32, scores: usize): void {
  for (let j = 0; j < count; j += 4) {
    const a = f32x4.add(v128.load(from), v128.load(from, 16)), b = f32x4.add(v128.load(from, 32), v128.load(from, 48));
    const c = f32x4.add(v128.load(from, 64), v128.load(from, 80)), d = f32x4.add(v128.load(from, 96), v128.load(from, 112));
    const ab = f32x4.add(v128.shuffle<i32>(a, b, 0, 2, 4, 6), v128.shuffle<i32>(a, b, 1, 3, 5, 7));
    const cd = f32x4.add(v128.shuffle<i32>(c, d, 0, 2, 4, 6), v128.shuffle<i32>(c, d, 1, 3, 5, 7));
    v128.store(scores, f32x4.add(v128.shuffle<i32>(ab, cd, 0, 2, 4, 6), v128.shuffle<i32>(ab, cd, 1, 3, 5, 7)));
    scores += 16;
    from += 4 * PARTIAL;
  }
}

/** A row's scores in a tile → its weights, in their place; 0 for the first `unseen` and beyond `count`. */
function softmax(scores: usize, unseen: i32, count: i32, mostAt: usize, totalAt: usize, scaleAt: usize): void {
  const end = scores + (TILE << 2);
  const first = scores + (<usize>unseen << 2), beyond = scores + (<usize>count << 2);
  for (let at = scores; at < first; at += 4) store<f32>(at, -Infinity);
  for (let at = beyond; at < end; at += 4) store<f32>(at, -Infinity);
  const before = v128.load32_splat(mostAt);
  let a = before;
  for (let at = scores; at < end; at += 16) a = f32x4.pmax(a, v128.load(at));
  a = f32x4.pmax(a, v128.shuffle<i32>(a, a, 2, 3, 0, 1));
  const most = f32x4.pmax(a, v128.shuffle<i32>(a, a, 1, 0, 3, 2));
  for (let at = scores; at < end; at += 16) v128.store(at, exp4(f32x4.sub(v128.load(at), most)));
  for (let at = scores; at < first; at += 4) store<f32>(at, 0);
  for (let at = beyond; at < end; at += 4) store<f32>(at, 0);
  let sum = f32x4.splat(0);
  for (let at = scores; at < end; at += 16) sum = f32x4.add(sum, v128.load(at));
  const scale = f32x4.extract_lane(exp4(f32x4.sub(before, most)), 0);
  store<f32>(mostAt, f32x4.extract_lane(most, 0));
  store<f32>(scaleAt, scale);
  store<f32>(totalAt, load<f32>(totalAt) * scale + sumLanes(sum));
}

/** sums = sums * scale + Σ_j weights[j] v[j] of four rows, 16 columns at a time. */
function weighFour(sums: usize, headBytes: usize, v: usize, stride: usize, count: i32, weights: usize, scales: usize): void {
  let d: usize = 0;
  for (; d + 64 <= headBytes; d += 64) {
    const r0 = sums + d, r1 = r0 + headBytes, r2 = r1 + headBytes, r3 = r2 + headBytes;
    let s = v128.load32_splat(scales);
    let a00 = f32x4.mul(v128.load(r0), s), a01 = f32x4.mul(v128.load(r0, 16), s);
    let a02 = f32x4.mul(v128.load(r0, 32), s), a03 = f32x4.mul(v128.load(r0, 48), s);
    s = v128.load32_splat(scales, 4);
    let a10 = f32x4.mul(v128.load(r1), s), a11 = f32x4.mul(v128.load(r1, 16), s);
    let a12 = f32x4.mul(v128.load(r1, 32), s), a13 = f32x4.mul(v128.load(r1, 48), s);
    s = v128.load32_splat(scales, 8);
    let a20 = f32x4.mul(v128.load(r2), s), a21 = f32x4.mul(v128.load(r2, 16), s);
    let a22 = f32x4.mul(v128.load(r2, 32), s), a23 = f32x4.mul(v128.load(r2, 48), s);
    s = v128.load32_splat(scales, 12);
    let a30 = f32x4.mul(v128.load(r3), s), a31 = f32x4.mul(v128.load(r3, 16), s);
    let a32 = f32x4.mul(v128.load(r3, 32), s), a33 = f32x4.mul(v128.load(r3, 48), s);
    let from = v + d;
    const end = weights + (<usize>count << 2);
    for (let w = weights; w < end; w += 4) {
      const v0 = v128.load(from), v1 = v128.load(from, 16), v2 = v128.load(from, 32), v3 = v128.load(from, 48);
      let x = v128.load32_splat(w);
      a00 = madd(v0, x, a00);
      a01 = madd(v1, x, a01);
      a02 = madd(v2, x, a02);
      a03 = madd(v3, x, a03);
      x = v128.load32_splat(w, TILE << 2);
      a10 = madd(v0, x, a10);
      a11 = madd(v1, x, a11);
      a12 = madd(v2, x, a12);
      a13 = madd(v3, x, a13);
      x = v128.load32_splat(w, TILE << 3);
      a20 = madd(v0, x, a20);
      a21 = madd(v1, x, a21);
      a22 = madd(v2, x, a22);
      a23 = madd(v3, x, a23);
      x = v128.load32_splat(w, TILE * 12);
      a30 = madd(v0, x, a30);
      a31 = madd(v1, x, a31);
      a32 = madd(v2, x, a32);
      a33 = madd(v3, x, a33);
      from += stride;
    }
    store4(r0, a00, a01, a02, a03);
    store4(r1, a10, a11, a12, a13);
    store4(r2, a20, a21, a22, a23);
    store4(r3, a30, a31, a32, a33);
  }
  if (d == headBytes) return;
  for (let r: usize = 0; r < <usize>ROWS; r++) {
    weighOne(sums + r * headBytes, d, headBytes, v, stride, count, weights + r * (TILE << 2), scales + (r << 2));
  }
}

/** The same of one row, columns from byte `begin` on. */
function weighOne(sums: usize, begin: usize, headBytes: usize, v: usize, stride: usize, count: i32, weights: usize, scale: usize): void {
  const s = v128.load32_splat(scale);
  const end = weights + (<usize>count << 2);
  let d = begin;
  for (; d + 128 <= headBytes; d += 128) {
    const row = sums + d;
    let a0 = f32x4.mul(v128.load(row), s), a1 = f32x4.mul(v128.load(row, 16), s);
    let a2 = f32x4.mul(v128.load(row, 32), s), a3 = f32x4.mul(v128.load(row, 48), s);
    let a4 = f32x4.mul(v128.load(row, 64), s), a5 = f32x4.mul(v128.load(row, 80), s);
    let a6 = f32x4.mul(v128.load(row, 96), s), a7 = f32x4.mul(v128.load(row, 112), s);
    let from = v + d;
    for (let w = weights; w < end; w += 4) {
      const x = v128.load32_splat(w);
      a0 = madd(v128.load(from), x, a0);
      a1 = madd(v128.load(from, 16), x, a1);
      a2 = madd(v128.load(from, 32), x, a2);
      a3 = madd(v128.load(from, 48), x, a3);
      a4 = madd(v128.load(from, 64), x, a4);
      a5 = madd(v128.load(from, 80), x, a5);
      a6 = madd(v128.load(from, 96), x, a6);
      a7 = madd(v128.load(from, 112), x, a7);
      from += stride;
    }
    store8(row, a0, a1, a2, a3, a4, a5, a6, a7);
  }
  for (; d < headBytes; d += 32) {
    const row = sums + d;
    let a0 = f32x4.mul(v128.load(row), s), a1 = f32x4.mul(v128.load(row, 16), s);
    let from = v + d;
    for (let w = weights; w < end; w += 4) {
      const x = v128.load32_splat(w);
      a0 = madd(v128.load(from), x, a0);
      a1 = madd(v128.load(from, 16), x, a1);
      from += stride;
    }
    v128.store(row, a0);
    v128.store(row, a1, 16);
  }
}

// @ts-ignore: decorator
@inline
function store4(to: usize, a: v128, b: v128, c: v128, d: v128): void {
  v128.store(to, a);
  v128.store(to, b, 16);
  v128.store(to, c, 32);
  v128.store(to, d, 48);
}
