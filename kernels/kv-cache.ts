// What happens to keys and queries before attention: rotation, and the way into the cache.

import { KV_FLOAT32, kvBytes, narrowKvRows } from './kv-values';

/**
 * Rotates the first R columns of every head: column i with i + R/2, by the angle whose cosine and sine the table has at i
 * and i + R/2. Other columns pass.
 */
export function rotaryRows(
  x: usize, xStride: usize, table: usize, tableStride: usize, out: usize, outStride: usize, rows: i32, heads: i32, D: i32, R: i32,
): void {
  const half = <usize>R << 1, rotated = half << 1;
  const headBytes = <usize>D << 2;
  const whole = half & ~15;
  for (let r = 0; r < rows; r++) {
    const cosines = table, sines = table + half;
    let from = x, to = out;
    for (let h = 0; h < heads; h++) {
      let i: usize = 0;
      for (; i < whole; i += 16) {
        const a = v128.load(from + i), b = v128.load(from + half + i);
        const c = v128.load(cosines + i), s = v128.load(sines + i);
        v128.store(to + i, f32x4.sub(f32x4.mul(a, c), f32x4.mul(b, s)));
        v128.store(to + half + i, f32x4.add(f32x4.mul(b, c), f32x4.mul(a, s)));
      }
      for (; i < half; i += 4) {
        const a = load<f32>(from + i), b = load<f32>(from + half + i);
        const c = load<f32>(cosines + i), s = load<f32>(sines + i);
        store<f32>(to + i, a * c - b * s);
        store<f32>(to + half + i, b * c + a * s);
      }
      if (rotated < headBytes) memory.copy(to + rotated, from + rotated, headBytes - rotated);
      from += headBytes;
      to += headBytes;
    }
    x += xStride;
    table += tableStride;
    out += outStride;
  }
}

/**
 * Row r, of `heads` heads of D numbers, goes to place slots[r] of a cache in a format of kv-values.ts, whose blocks are
 * `blockBytes` apart; nowhere where that is -1.
 */
export function cacheRows(
  x: usize, xStride: usize, cache: usize, blockBytes: usize, blockSize: i32, heads: i32, D: i32, format: i32, slots: usize,
  rows: i32,
): void {
  const rowBytes = <usize>(heads * D) * kvBytes(format);
  for (let r = 0; r < rows; r++) {
    const slot = load<i32>(slots + (<usize>r << 2));
    if (slot >= 0) {
      const to = cache + <usize>(slot / blockSize) * blockBytes + <usize>(slot % blockSize) * rowBytes;
      if (format == KV_FLOAT32) memory.copy(to, x, rowBytes);
      else narrowKvRows(x, to, heads, D, format);
    }
    x += xStride;
  }
}
