// Rows of weights in the formats of files → panels, and rows of values back out of them. The layouts of rows are those of
// src/tensor/block-formats.ts; formats.ts has that of panels.

import { e4m3s } from '../e4m3';
import { BLOCK } from '../quantized';
import { E2M1, packUnit, unitBytes, unitInputs, unpackUnit } from './codes';
import {
  blockBytes, codesAt, extrasAt, HALVES, hasFloat16, hasMinima, hasZeroPoints, headBytes, INT4_G128, INT4_G32, INT4_G64, INT8_G128, is, isFloat4, isSigned,
  minimaAt, MXFP4, NVFP4, panelBytes, partInputs, Q4_0, Q4_K, Q5_K, Q6_K, Q8_0, scalesAt, WORDS, zeroPoint,
} from './formats';

/** Codes of 128 inputs of a row, a byte each. */
const CODES: usize = memory.data(128, 16);

/**
 * `count` rows of K inputs, a multiple of the format's blocks, one after another from `rows` on → panels, from row
 * `firstRow` on.
 * @param format as in linearBlocks
 */
export function packBlocks(format: i32, rows: usize, count: i32, K: i32, w: usize, firstRow: i32): void {
  if (format == 0) pack<Q8_0>(rows, count, K, w, firstRow);
  else if (format == 1) pack<Q4_0>(rows, count, K, w, firstRow);
  else if (format == 2) pack<Q4_K>(rows, count, K, w, firstRow);
  else if (format == 3) pack<Q5_K>(rows, count, K, w, firstRow);
  else if (format == 4) pack<Q6_K>(rows, count, K, w, firstRow);
  else if (format == 5) pack<MXFP4>(rows, count, K, w, firstRow);
  else if (format == 6) pack<NVFP4>(rows, count, K, w, firstRow);
  else if (format == 7) pack<INT4_G32>(rows, count, K, w, firstRow);
  else if (format == 8) pack<INT4_G64>(rows, count, K, w, firstRow);
  else if (format == 9) pack<INT4_G128>(rows, count, K, w, firstRow);
  else pack<INT8_G128>(rows, count, K, w, firstRow);
}

/** Bytes of a panel of K inputs. */
export function blockPanelBytes(format: i32, K: i32): usize {
  if (format == 0) return panelBytes<Q8_0>(K);
  if (format == 1) return panelBytes<Q4_0>(K);
  if (format == 2) return panelBytes<Q4_K>(K);
  if (format == 3) return panelBytes<Q5_K>(K);
  if (format == 4) return panelBytes<Q6_K>(K);
  if (format == 5) return panelBytes<MXFP4>(K);
  if (format == 6) return panelBytes<NVFP4>(K);
  if (format == 7) return panelBytes<INT4_G32>(K);
  if (format == 8) return panelBytes<INT4_G64>(K);
  if (format == 9) return panelBytes<INT4_G128>(K);
  return panelBytes<INT8_G128>(K);
}

/** As embeddingRows, of a table in panels of a format. */
export function embeddingBlocks(
  format: i32, ids: usize, count: i32, firstRow: i32, tableRows: i32, w: usize, K: i32, out: usize, outStride: usize,
): void {
  for (let t: usize = 0; t < <usize>count; t++) {
    const row = load<i32>(ids + (t << 2)) - firstRow;
    const to = out + t * outStride;
    if (row < 0 || row >= tableRows) memory.fill(to, 0, <usize>K << 2);
    else if (format == 0) unpack<Q8_0>(w, row, K, to);
    else if (format == 1) unpack<Q4_0>(w, row, K, to);
    else if (format == 2) unpack<Q4_K>(w, row, K, to);
    else if (format == 3) unpack<Q5_K>(w, row, K, to);
    else if (format == 4) unpack<Q6_K>(w, row, K, to);
    else if (format == 5) unpack<MXFP4>(w, row, K, to);
    else if (format == 6) unpack<NVFP4>(w, row, K, to);
    else if (format == 7) unpack<INT4_G32>(w, row, K, to);
    else if (format == 8) unpack<INT4_G64>(w, row, K, to);
    else if (format == 9) unpack<INT4_G128>(w, row, K, to);
    else unpack<INT8_G128>(w, row, K, to);
  }
}

/** Address of the row's panel. */
// @ts-ignore: decorator
@inline
function panelOf<F>(w: usize, row: i32, K: i32): usize {
  return w + <usize>(row >> 4) * panelBytes<F>(K);
}

// --- rows -> panels -----------------------------------------------------------------------------------------------

function pack<F>(rows: usize, count: i32, K: i32, w: usize, firstRow: i32): void {
  for (let row = firstRow; row < firstRow + count; row++) {
    const lane = <usize>row & 15;
    const panel = panelOf<F>(w, row, K);
    packFactors<F>(rows, K, panel, lane);
    let block = panel + headBytes<F>();
    for (let k = 0; k < K; k += BLOCK) {
      // The row's block, and which half of it if it has 256 inputs.
      const half = <usize>(k / BLOCK & 1);
      for (let chunk: usize = 0; chunk < 8; chunk++) v128.store(CODES + (chunk << 4), chunkOf<F>(rows, half, chunk));
      packNumbers<F>(rows, half, block, lane);
      packCodes<F>(block, lane);
      if (isSigned<F>()) packOffset<F>(panel, block, lane);
      if (!hasBlocksOf256<F>() || half == 1) rows += rowBlockBytes<F>();
      block += blockBytes<F>();
    }
  }
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

/** Stores what the kernels' activations of 7 bits add, negative: see offsetsOf. The numbers are there. */
// @ts-ignore: decorator
@inline
function packOffset<F>(panel: usize, block: usize, lane: usize): void {
  const inputs = <usize>partInputs<F>();
  let offset: f64 = 0;
  for (let part: usize = 0; part < <usize>BLOCK / inputs; part++) {
    let sum = 0;
    for (let k: usize = 0; k < inputs; k++) sum += load<i8>(CODES + part * inputs + k);
    offset -= 64 * <f64>sum * scaleOfPart<F>(panel, block, part, lane);
  }
  store<f32>(wordOf(block + extrasAt<F>(), lane), <f32>offset);
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

// @ts-ignore: decorator
@inline
function packCodes<F>(block: usize, lane: usize): void {
  let codes = wordOf(block + codesAt<F>(), lane);
  for (let k: usize = 0; k < <usize>BLOCK; k += <usize>unitInputs<F>()) {
    packUnit<F>(CODES + k, codes);
    codes += unitBytes<F>();
  }
}

// --- panels -> rows of values -------------------------------------------------------------------------------------

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
