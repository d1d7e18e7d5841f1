// Rows of a table whose weights are in blocks → float32, in the order of ggml's dequantize_row_*, so with its bits.

import { BLOCK } from '../quantized';
import {
  blockBytes, blockInputs, chunkOf, halfAt, hasFloatScales, is, minimaOfK, partInputs, Q4_0, Q4_K, Q5_K, Q6_K, Q8_0, scalesOfK,
  zeroPoint,
} from './formats';

/** As embeddingRows, for rows of rowBytes. `format`: 0 Q8_0, 1 Q4_0, 2 Q4_K, 3 Q5_K, 4 Q6_K. */
export function embeddingBlocks(
  format: i32, ids: usize, count: i32, firstRow: i32, tableRows: i32, w: usize, rowBytes: usize, K: i32, out: usize,
  outStride: usize,
): void {
  for (let t: usize = 0; t < <usize>count; t++) {
    const row = load<i32>(ids + (t << 2)) - firstRow;
    const to = out + t * outStride;
    const from = w + <usize>row * rowBytes;
    if (row < 0 || row >= tableRows) memory.fill(to, 0, <usize>K << 2);
    else if (format == 0) unpack<Q8_0>(from, K, to);
    else if (format == 1) unpack<Q4_0>(from, K, to);
    else if (format == 2) unpack<Q4_K>(from, K, to);
    else if (format == 3) unpack<Q5_K>(from, K, to);
    else unpack<Q6_K>(from, K, to);
  }
}

function unpack<F>(block: usize, K: i32, out: usize): void {
  for (let k = 0; k < K; k += blockInputs<F>()) {
    for (let half: usize = 0; half < <usize>(blockInputs<F>() / BLOCK); half++) {
      for (let chunk: usize = 0; chunk < 8; chunk++) {
        const part = (chunk << 4) / <usize>partInputs<F>();
        const bytes = chunkOf<F>(block, half, chunk);
        unpackEight(out, i16x8.extend_low_i8x16_s(bytes), zeroPoint<F>(), scaleOf<F>(block, half, part), minimumOf<F>(block, half, part));
        unpackEight(out + 32, i16x8.extend_high_i8x16_s(bytes), zeroPoint<F>(), scaleOf<F>(block, half, part), minimumOf<F>(block, half, part));
        out += 64;
      }
    }
    block += <usize>blockBytes<F>();
  }
}

// @ts-ignore: decorator
@inline
function scaleOf<F>(block: usize, half: usize, part: usize): f32 {
  if (hasFloatScales<F>()) return halfAt(block + part * <usize>(blockBytes<F>() >> 2));
  if (is<F, Q6_K>()) return halfAt(block + 208) * <f32>load<i8>(block + 192 + (half << 3) + part);
  return halfAt(block) * <f32>((scalesOfK(block, half) >> (<u32>part << 3)) & 63);
}

// @ts-ignore: decorator
@inline
function minimumOf<F>(block: usize, half: usize, part: usize): f32 {
  if (hasFloatScales<F>() || is<F, Q6_K>()) return 0;
  return halfAt(block + 2) * <f32>((minimaOfK(block, half) >> (<u32>part << 3)) & 63);
}

/** (q - zero) scale - minimum */
function unpackEight(out: usize, q: v128, zero: i32, scale: f32, minimum: f32): void {
  const values = i16x8.sub(q, i16x8.splat(<i16>zero));
  const factor = f32x4.splat(scale), less = f32x4.splat(minimum);
  v128.store(out, f32x4.sub(f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(values)), factor), less));
  v128.store(out, f32x4.sub(f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(values)), factor), less), 16);
}
