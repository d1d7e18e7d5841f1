// Rows of weights in the formats of files → panels, and rows of values back out of them. The layouts of rows are those of
// src/tensor/block-formats.ts; formats.ts has that of panels.

import { e4m3s } from '../e4m3';
import { BLOCK, dot4 } from '../quantized';
import { E2M1, packUnit, storeSome, unitBytes, unitInputs, unpackUnit } from './codes';
import {
  blockBytes, codesAt, extrasAt, HALVES, hasFloat16, hasMinima, hasZeroPoints, headBytes, INT8_G128, is, isFloat4, isSigned, minimaAt,
  MXFP4, NVFP4, panelBytesOf, partInputs, Q4_0, Q4_K, Q5_K, Q6_K, Q8_0, scalesAt, WORDS, zeroPoint,
} from './formats';

/** Codes of 128 inputs of a row, a byte each. */
const CODES: usize = memory.data(128, 16);

/** Address of the row's panel. */
// @ts-ignore: decorator
@inline
function panelOf<F>(w: usize, row: i32, K: i32): usize {
  return w + <usize>(row >> 4) * panelBytesOf<F>(K);
}

// --- rows -> panels -----------------------------------------------------------------------------------------------

/** Arguments as those of pack in index.ts. Four rows, those of a vector of words, are packed together. */
export function packRows<F>(rows: usize, count: i32, K: i32, w: usize, firstRow: i32): void {
  const end = firstRow + count;
  for (let row = firstRow; row < end; ) {
    const next = min(end, (row & ~3) + 4);
    const panel = panelOf<F>(w, row, K);
    const from = rows;
    for (let lane = row & 15; row < next; row++, lane++) {
      packRowNumbers<F>(rows, K, panel, lane);
      rows += rowBytes<F>(K);
    }
    packFour<F>(from, rows, K, panel, next);
  }
}

/** Everything but the codes of a row. */
function packRowNumbers<F>(row: usize, K: i32, panel: usize, lane: usize): void {
  packFactors<F>(row, K, panel, lane);
  let block = panel + headBytes<F>();
  for (let k = 0; k < K; k += BLOCK) {
    const half = halfAtInput<F>(k);
    packNumbers<F>(row, half, block, lane);
    row = nextBlock<F>(row, half);
    block += blockBytes<F>();
  }
}

/** The codes of rows from `from` up to `to`, which are those before row number `end` of the panel's four. */
function packFour<F>(from: usize, to: usize, K: i32, panel: usize, end: i32): void {
  const bytes = rowBytes<F>(K);
  const count = <i32>((to - from) / bytes);
  const lane = (end - count) & 3;
  const lanes = i32x4(0, 1, 2, 3);
  const mask = v128.and(i32x4.ge_s(lanes, i32x4.splat(lane)), i32x4.lt_s(lanes, i32x4.splat(lane + count)));
  // The nearest row does instead of one that is not there.
  const last = count - 1;
  let a = from + <usize>min(max(-lane, 0), last) * bytes, b = from + <usize>min(max(1 - lane, 0), last) * bytes;
  let c = from + <usize>min(max(2 - lane, 0), last) * bytes, d = from + <usize>min(max(3 - lane, 0), last) * bytes;
  const four = <usize>(((end - 1) & 15) >> 2) << 4;
  let block = panel + headBytes<F>();
  for (let k = 0; k < K; k += BLOCK) {
    const half = halfAtInput<F>(k);
    let codes = block + codesAt<F>() + four;
    let low = f64x2.splat(0), high = f64x2.splat(0);
    let sums = i32x4.splat(0);
    for (let chunk: usize = 0; chunk < 8; chunk += unitInputs<F>() >> 4) {
      let p = chunkOf<F>(a, half, chunk), q = chunkOf<F>(b, half, chunk), r = chunkOf<F>(c, half, chunk), s = chunkOf<F>(d, half, chunk);
      let pq = v128.shuffle<i32>(p, q, 0, 4, 1, 5), rs = v128.shuffle<i32>(r, s, 0, 4, 1, 5);
      const w0 = v128.shuffle<i64>(pq, rs, 0, 2), w1 = v128.shuffle<i64>(pq, rs, 1, 3);
      pq = v128.shuffle<i32>(p, q, 2, 6, 3, 7), rs = v128.shuffle<i32>(r, s, 2, 6, 3, 7);
      const w2 = v128.shuffle<i64>(pq, rs, 0, 2), w3 = v128.shuffle<i64>(pq, rs, 1, 3);
      let w4 = w0, w5 = w0, w6 = w0, w7 = w0;
      if (unitInputs<F>() == 32) {
        p = chunkOf<F>(a, half, chunk + 1), q = chunkOf<F>(b, half, chunk + 1), r = chunkOf<F>(c, half, chunk + 1), s = chunkOf<F>(d, half, chunk + 1);
        pq = v128.shuffle<i32>(p, q, 0, 4, 1, 5), rs = v128.shuffle<i32>(r, s, 0, 4, 1, 5);
        w4 = v128.shuffle<i64>(pq, rs, 0, 2), w5 = v128.shuffle<i64>(pq, rs, 1, 3);
        pq = v128.shuffle<i32>(p, q, 2, 6, 3, 7), rs = v128.shuffle<i32>(r, s, 2, 6, 3, 7);
        w6 = v128.shuffle<i64>(pq, rs, 0, 2), w7 = v128.shuffle<i64>(pq, rs, 1, 3);
      }
      packUnit<F>(codes, mask, w0, w1, w2, w3, w4, w5, w6, w7);
      codes += unitBytes<F>();
      if (isSigned<F>()) {
        const one = i8x16.splat(1);
        sums = dot4(w3, one, dot4(w2, one, dot4(w1, one, dot4(w0, one, sums))));
        sums = dot4(w7, one, dot4(w6, one, dot4(w5, one, dot4(w4, one, sums))));
        const inputs = <i32>(chunk + 2) << 4;
        if (inputs % partInputs<F>() == 0) {
          const part = <usize>(inputs / partInputs<F>() - 1);
          low = f64x2.sub(low, f64x2.mul(f64x2.convert_low_i32x4_s(sums), scalesOfTwo<F>(panel, block, part, four)));
          high = f64x2.sub(high, f64x2.mul(f64x2.convert_low_i32x4_s(v128.shuffle<i64>(sums, sums, 1, 1)), scalesOfTwo<F>(panel, block, part, four + 8)));
          sums = i32x4.splat(0);
        }
      }
    }
    // What the kernels' activations of 7 bits add, negative: see offsetsOf.
    if (isSigned<F>()) {
      const offsets = v128.shuffle<i64>(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 2);
      storeSome(block + extrasAt<F>() + four, mask, offsets);
    }
    a = nextBlock<F>(a, half);
    b = nextBlock<F>(b, half);
    c = nextBlock<F>(c, half);
    d = nextBlock<F>(d, half);
    block += blockBytes<F>();
  }
}

/** 64 times the scales of a part for two outputs; `at` is the offset of the first among words. */
// @ts-ignore: decorator
@inline
function scalesOfTwo<F>(panel: usize, block: usize, part: usize, at: usize): v128 {
  const first = f64x2.splat(scaleOfPart<F>(panel, block, part, at >> 2));
  return f64x2.mul(f64x2.splat(64), f64x2.replace_lane(first, 1, scaleOfPart<F>(panel, block, part, (at >> 2) + 1)));
}

/** Which half of a row's block has input k, if blocks have 256 inputs. */
// @ts-ignore: decorator
@inline
function halfAtInput<F>(k: i32): usize {
  return <usize>(k / BLOCK & 1);
}

/** The block of a row that has its next 128 inputs. */
// @ts-ignore: decorator
@inline
function nextBlock<F>(row: usize, half: usize): usize {
  return !hasBlocksOf256<F>() || half == 1 ? row + rowBlockBytes<F>() : row;
}

// @ts-ignore: decorator
@inline
function rowBytes<F>(K: i32): usize {
  return rowBlockBytes<F>() * <usize>(hasBlocksOf256<F>() ? K >> 8 : K >> 7);
}

// @ts-ignore: decorator
@inline
function hasBlocksOf256<F>(): bool {
  return hasMinima<F>() || is<F, Q6_K>();
}

/** Bytes that 128 inputs of a row take, or 256. */
// @ts-ignore: decorator
@inline
function rowBlockBytes<F>(): usize {
  if (is<F, Q8_0>()) return 4 * 34;
  if (is<F, Q4_0>()) return 4 * 18;
  if (is<F, Q4_K>()) return 144;
  if (is<F, Q5_K>()) return 176;
  if (is<F, Q6_K>()) return 210;
  if (is<F, MXFP4>()) return 4 * 17;
  if (is<F, INT8_G128>()) return 4 + 128;
  return rowNumbers<F>() + 64;
}

/** Bytes before the codes of NVFP4 and INT4_G*. */
// @ts-ignore: decorator
@inline
function rowNumbers<F>(): usize {
  return is<F, NVFP4>() ? 12 : <usize>(BLOCK / partInputs<F>()) << 2;
}

/** Codes of 16 inputs, chunk number c of 128, as bytes. */
// @ts-ignore: decorator
@inline
function chunkOf<F>(row: usize, half: usize, c: usize): v128 {
  if (is<F, Q8_0>()) return v128.load(row + (c >> 1) * 34 + 2 + ((c & 1) << 4));
  if (is<F, INT8_G128>()) return v128.load(row + 4 + (c << 4));
  const low = i8x16.splat(15);
  if (is<F, Q6_K>()) {
    // 64 bytes of lower bits, 32 of upper ones: see block_q6_K.
    const ql = v128.load(row + (half << 6) + ((c & 3) << 4));
    const qh = v128.load(row + 128 + (half << 5) + ((c & 1) << 4));
    const upper = v128.and(i16x8.shr_u(qh, <i32>(c >> 1) << 1), i8x16.splat(3));
    return v128.or(c & 4 ? v128.and(i16x8.shr_u(ql, 4), low) : v128.and(ql, low), i16x8.shl(upper, 4));
  }
  if (hasMinima<F>()) {
    // The lower halves of 32 bytes are one part, their upper halves the next.
    const part = c >> 1;
    const bytes = v128.load(row + (is<F, Q5_K>() ? 48 : 16) + ((part >> 1) << 5) + ((c & 1) << 4) + (half << 6));
    const q = part & 1 ? v128.and(i16x8.shr_u(bytes, 4), low) : v128.and(bytes, low);
    if (is<F, Q4_K>()) return q;
    const qh = v128.load(row + 16 + ((c & 1) << 4));
    return v128.or(q, i16x8.shl(v128.and(i16x8.shr_u(qh, <i32>((half << 2) + part)), i8x16.splat(1)), 4));
  }
  // Lower halves are inputs 0-15 of 32, upper halves 16-31.
  const at = is<F, Q4_0>() ? (c >> 1) * 18 + 2 : is<F, MXFP4>() ? (c >> 1) * 17 + 1 : rowNumbers<F>() + ((c >> 1) << 4);
  const bytes = v128.load(row + at);
  return c & 1 ? v128.and(i16x8.shr_u(bytes, 4), low) : v128.and(bytes, low);
}

/** Places of an output's number of 32 bits, and of 16. */
// @ts-ignore: decorator
@inline
function wordOf(address: usize, lane: usize): usize {
  return address + (lane << 2);
}

// @ts-ignore: decorator
@inline
function halfOf(address: usize, lane: usize): usize {
  return address + ((lane & 7) << 2) + ((lane & 8) >> 2);
}

/** Powers of two by which a row's d, and dmin, are moved up so that none is subnormal. */
let moved: u32 = 0;
let minimumMoved: u32 = 0;

/** Finds them, and stores the factors that move the numbers down and make float32 of them: see float16s. */
function packFactors<F>(row: usize, K: i32, panel: usize, lane: usize): void {
  if (!hasFloat16<F>()) return;
  const step = hasBlocksOf256<F>() ? rowBlockBytes<F>() : rowBlockBytes<F>() >> 2;
  const count = K / (hasBlocksOf256<F>() ? 256 : 32);
  moved = moveOf(row + (is<F, Q6_K>() ? 208 : 0), step, count);
  store<u32>(wordOf(panel, lane), (239 - moved) << 23);
  if (!hasMinima<F>()) return;
  minimumMoved = moveOf(row + 2, step, count);
  store<u32>(wordOf(panel + WORDS, lane), (239 - minimumMoved) << 23);
}

/** By how many powers of two float16 numbers can move up, as far as the smallest needs it to be normal. */
function moveOf(from: usize, step: usize, count: i32): u32 {
  let least: u32 = 0x7fff, largest: u32 = 0;
  for (; count > 0; count--) {
    const magnitude = <u32>load<u16>(from) & 0x7fff;
    if (magnitude != 0) least = min(least, magnitude);
    largest = max(largest, magnitude);
    from += step;
  }
  if (least >= 0x400) return 0;
  return min(clz(least) - 21, 31 - max(largest >> 10, 1));
}

/** The bits of a float16 times 2^power. Moving a subnormal up by one doubles its bits, until it is normal. */
function times2(bits: u32, power: u32): u16 {
  let magnitude = bits & 0x7fff;
  if (magnitude == 0) return <u16>bits;
  for (; power > 0 && magnitude < 0x400; power--) magnitude <<= 1;
  return <u16>((bits & 0x8000) | (magnitude + (power << 10)));
}

function packNumbers<F>(row: usize, half: usize, block: usize, lane: usize): void {
  const parts = <usize>(BLOCK / partInputs<F>());
  const scales = block + scalesAt<F>();
  if (is<F, Q8_0>() || is<F, Q4_0>()) {
    const step = rowBlockBytes<F>() >> 2;
    for (let part: usize = 0; part < 4; part++) {
      store<u16>(halfOf(scales + part * HALVES, lane), times2(load<u16>(row + part * step), moved));
    }
  } else if (hasMinima<F>()) {
    store<u16>(wordOf(block, lane), times2(load<u16>(row), moved));
    store<u16>(wordOf(block, lane), times2(load<u16>(row, 2), minimumMoved), 2);
    store<u32>(wordOf(scales, lane), scalesOfK(row, half));
    store<u32>(wordOf(minimaAt(block), lane), minimaOfK(row, half));
  } else if (is<F, Q6_K>()) {
    store<u16>(halfOf(block, lane), times2(load<u16>(row, 208), moved));
    const bytes = row + 192 + (half << 3);
    store<u32>(wordOf(scales, lane), load<u32>(bytes));
    store<u32>(wordOf(scales + WORDS, lane), load<u32>(bytes, 4));
  } else if (is<F, MXFP4>()) {
    for (let part: usize = 0; part < 4; part++) store<u8>(wordOf(scales, lane) + part, load<u8>(row + part * 17));
  } else if (is<F, NVFP4>()) {
    store<u32>(wordOf(block, lane), load<u32>(row));
    store<u32>(wordOf(scales, lane), load<u32>(row, 4));
    store<u32>(wordOf(scales + WORDS, lane), load<u32>(row, 8));
  } else {
    for (let part: usize = 0; part < parts; part++) store<u32>(wordOf(scales + part * WORDS, lane), load<u32>(row + (part << 2)));
  }
}

/** The four scales of half a Q4_K or Q5_K block, a byte each. */
// @ts-ignore: decorator
@inline
function scalesOfK(row: usize, half: usize): u32 {
  if (half == 0) return load<u32>(row, 4) & 0x3f3f3f3f;
  return (load<u32>(row, 12) & 0x0f0f0f0f) | ((load<u32>(row, 4) >> 2) & 0x30303030);
}

/** Its four minima. */
// @ts-ignore: decorator
@inline
function minimaOfK(row: usize, half: usize): u32 {
  if (half == 0) return load<u32>(row, 8) & 0x3f3f3f3f;
  return ((load<u32>(row, 12) >> 4) & 0x0f0f0f0f) | ((load<u32>(row, 8) >> 2) & 0x30303030);
}

// --- panels -> rows of values -------------------------------------------------------------------------------------

/** Arguments as those of embedding in index.ts. */
export function unpackRows<F>(
  ids: usize, count: i32, firstRow: i32, tableRows: i32, w: usize, K: i32, out: usize, outStride: usize,
): void {
  for (let t: usize = 0; t < <usize>count; t++) {
    const row = load<i32>(ids + (t << 2)) - firstRow;
    const to = out + t * outStride;
    if (row < 0 || row >= tableRows) memory.fill(to, 0, <usize>K << 2);
    else unpack<F>(w, row, K, to);
  }
}

/** What the definitions of the formats give: products are exact in float64 and rounded once; minima are taken in float32. */
function unpack<F>(w: usize, row: i32, K: i32, out: usize): void {
  const lane = <usize>row & 15;
  const panel = panelOf<F>(w, row, K);
  let block = panel + headBytes<F>();
  for (let k = 0; k < K; k += BLOCK) {
    unpackCodes<F>(block, lane);
    for (let i: usize = 0; i < <usize>BLOCK; i++) {
      const part = i / <usize>partInputs<F>();
      const code = load<u8>(CODES + i);
      const value = isSigned<F>() ? <i32><i8>code : <i32>(isFloat4<F>() ? load<u8>(E2M1 + code) : code) - zeroOf<F>(block, part, lane);
      store<f32>(out, <f32>(<f64>value * scaleOfPart<F>(panel, block, part, lane)) - minimumOf<F>(panel, block, part, lane));
      out += 4;
    }
    block += blockBytes<F>();
  }
}

// @ts-ignore: decorator
@inline
function unpackCodes<F>(block: usize, lane: usize): void {
  let codes = wordOf(block + codesAt<F>(), lane);
  for (let k: usize = 0; k < <usize>BLOCK; k += <usize>unitInputs<F>()) {
    unpackUnit<F>(codes, CODES + k);
    codes += unitBytes<F>();
  }
}

// @ts-ignore: decorator
@inline
function zeroOf<F>(block: usize, part: usize, lane: usize): i32 {
  return hasZeroPoints<F>() ? load<u8>(wordOf(block + part * WORDS, lane)) : zeroPoint<F>();
}

/** Byte of a part. */
// @ts-ignore: decorator
@inline
function byteOf(words: usize, part: usize, lane: usize): usize {
  return wordOf(words + (part >> 2) * WORDS, lane) + (part & 3);
}

// @ts-ignore: decorator
@inline
function scaleOfPart<F>(panel: usize, block: usize, part: usize, lane: usize): f64 {
  const scales = block + scalesAt<F>();
  const factor = hasFloat16<F>() ? load<f32>(wordOf(panel, lane)) : 0;
  if (is<F, Q8_0>() || is<F, Q4_0>()) return halfAt(halfOf(scales + part * HALVES, lane), factor);
  if (is<F, Q6_K>()) return <f64>halfAt(halfOf(block, lane), factor) * <f64>load<i8>(byteOf(scales, part, lane));
  if (hasMinima<F>()) return <f64>halfAt(wordOf(block, lane), factor) * <f64>load<u8>(byteOf(scales, part, lane));
  if (is<F, MXFP4>()) return <f64>e8m0(load<u8>(byteOf(scales, part, lane))) * 0.5;
  if (is<F, NVFP4>()) {
    const scale = f32x4.extract_lane(e4m3s(i32x4.splat(<i32>load<u8>(byteOf(scales, part, lane)) << 24)), 0);
    return <f64>load<f32>(wordOf(block, lane)) * <f64>scale * 0.5;
  }
  const word = load<u32>(wordOf(scales + part * WORDS, lane));
  return <f64>reinterpret<f32>(hasZeroPoints<F>() ? word & 0xffffff00 : word);
}

// @ts-ignore: decorator
@inline
function minimumOf<F>(panel: usize, block: usize, part: usize, lane: usize): f32 {
  if (!hasMinima<F>()) return 0;
  return halfAt(wordOf(block, lane) + 2, load<f32>(wordOf(panel + WORDS, lane))) * <f32>load<u8>(byteOf(minimaAt(block), part, lane));
}

// @ts-ignore: decorator
@inline
function halfAt(address: usize, factor: f32): f32 {
  const bits = <u32>load<u16>(address);
  const magnitude = reinterpret<f32>((bits & 0x7fff) << 13) * factor;
  return bits & 0x8000 ? -magnitude : magnitude;
}

// @ts-ignore: decorator
@inline
function e8m0(byte: u32): f32 {
  return reinterpret<f32>(byte == 0 ? 0x00400000 : byte << 23);
}
