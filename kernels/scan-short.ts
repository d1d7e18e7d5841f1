// The recurrence of scan.ts over states of 16 bits, which are rounded after every token: y is of the state before it is
// rounded, and the next token begins with what rounding left. Four rows of a head are widened to float32, the tokens of a
// block pass over them, and the rows are narrowed again.
//
// A row of N states lies in 2 N bytes. Of every 16 states a word of 4 bytes has one in its upper half and the one 8 places
// further in its lower half, so that both are widened without moving lanes; states beyond whole sixteens follow one by one.

import { madd, silu4, sumLanes } from './math';
import { BLOCK, CHUNK, gatherRows, paddedHeads, scaleRows, steps, sumFour } from './scan';

/** Numbers of formats and roundings. */
export const FLOAT16: i32 = 0;
const FLOAT16_RANDOM: i32 = 1;
export const BFLOAT16: i32 = 2;
const BFLOAT16_RANDOM: i32 = 3;

/** Constants, as in math.ts. Floats, then words. */
const FLOATS = memory.data<f32>([
  // 2^-14, 1.5 * 2^13, the largest float16 and its negative, 2^-42 - 2^-54
  6.103515625e-5, 12288.0, 65504.0, -65504.0, 2.273181642920008e-13,
]);
const WORDS = memory.data<u32>([
  // exponent, upper half without sign, sign, 112 << 23, magnitude, 1 << 23, upper half, 1, 0x7fff
  0x7f800000, 0x7fff0000, 0x80000000, 0x38000000, 0x7fffffff, 0x00800000, 0xffff0000, 1, 0x7fff,
  // NaN, float16's infinity as an upper half, float16's NaN that narrowed() shifts to its place
  0x7fc00000, 0x7c000000, 0x0fc00000,
]);

// @ts-ignore: decorator
@inline
function float(i: usize): v128 {
  return v128.load32_splat(FLOATS + (i << 2));
}

// @ts-ignore: decorator
@inline
function word(i: usize): v128 {
  return v128.load32_splat(WORDS + (i << 2));
}

/** The finaliser of MurmurHash3. */
function mix(value: u32): u32 {
  let h = (value ^ (value >> 16)) * 0x85ebca6b;
  h = (h ^ (h >> 13)) * 0xc2b2ae35;
  return h ^ (h >> 16);
}

/** Random factors of a state's columns: see RandomBits in src/tensor/state-dtype.ts. */
function columnFactors(out: usize, N: i32): void {
  for (let n = 0; n < N; n++) store<u32>(out + (<usize>n << 2), mix(<u32>n + 0xc2b2ae35) | 1);
}

/** Rounds four values, by `bits` where the format is a random one. NaN stays NaN, though perhaps another one. */
// @ts-ignore: decorator
@inline
export function rounded(h: v128, bits: v128, format: i32): v128 {
  if (format == BFLOAT16) {
    const half = i32x4.add(v128.and(i32x4.shr_u(h, 16), word(7)), word(8));
    return v128.or(v128.and(i32x4.add(h, half), word(6)), v128.and(f32x4.ne(h, h), word(9)));
  }
  if (format == BFLOAT16_RANDOM) {
    return v128.or(v128.and(i32x4.add(h, i32x4.shr_u(bits, 16)), word(6)), v128.and(f32x4.ne(h, h), word(9)));
  }
  // Both give their first operand where either is NaN. Rounding takes none of the largest values further.
  h = f32x4.pmax(f32x4.pmin(h, float(2)), float(3));
  // The power of two below the value, but at least that of the subnormal numbers. A number that is larger by 1.5 * 2^13
  // has their distance of two neighbours as its own.
  const power = f32x4.pmax(v128.and(h, word(0)), float(0));
  if (format == FLOAT16_RANDOM) h = madd(f32x4.convert_i32x4_s(bits), f32x4.mul(power, float(4)), h);
  const large = f32x4.mul(power, float(1));
  return f32x4.sub(f32x4.add(h, large), large);
}

/** {@link rounded} for one value. */
// @ts-ignore: decorator
@inline
function roundedOne(h: f32, bits: i32, format: i32): f32 {
  return f32x4.extract_lane(rounded(f32x4.splat(h), i32x4.splat(bits), format), 0);
}

/** Four values from the upper halves of words; what the lower halves hold counts for nothing. */
// @ts-ignore: decorator
@inline
export function widened(words: v128, format: i32): v128 {
  if (format >= BFLOAT16) return v128.and(words, word(6));
  // Under another exponent bias; a subnormal number is twice that less 2^-14, which is less for no other. The largest
  // exponent, NaN's, stays the largest.
  const magnitude = v128.and(words, word(1));
  const v = i32x4.add(i32x4.shr_u(magnitude, 3), word(3));
  const exponent = v128.and(i32x4.ge_s(magnitude, word(10)), word(0));
  const finite = f32x4.pmin(v, f32x4.sub(f32x4.add(v, v), float(0)));
  return v128.or(v128.or(finite, exponent), v128.and(words, word(2)));
}

/** Four rounded values as upper halves of words, whose lower halves are 0. */
// @ts-ignore: decorator
@inline
export function narrowed(h: v128, format: i32): v128 {
  if (format >= BFLOAT16) return h;
  const magnitude = v128.and(h, word(4));
  const subnormal = i32x4.sub(f32x4.add(magnitude, float(0)), word(5));
  const bits = i32x4.min_s(i32x4.sub(i32x4.max_s(magnitude, subnormal), word(3)), word(11));
  return v128.or(i32x4.shl(bits, 3), v128.and(h, word(2)));
}

/** N states of 16 bits → float32. */
// @ts-ignore: decorator
@inline
export function widenRow(from: usize, to: usize, N: i32, format: i32): void {
  let n = 0;
  for (; n + 16 <= N; n += 16) {
    const v = v128.load(from), w = v128.load(from, 16);
    const a = widened(v, format), b = widened(w, format);
    const c = widened(i32x4.shl(v, 16), format), d = widened(i32x4.shl(w, 16), format);
    v128.store(to, a);
    v128.store(to, b, 16);
    v128.store(to, c, 32);
    v128.store(to, d, 48);
    from += 32;
    to += 64;
  }
  for (; n < N; n++) {
    store<f32>(to, f32x4.extract_lane(widened(i32x4.splat(<i32>load<u16>(from) << 16), format), 0));
    from += 2;
    to += 4;
  }
}

/** N float32 → states of 16 bits. @param isRounded whether they are those of the format already; else the nearest are taken. */
// @ts-ignore: decorator
@inline
export function narrowRow(from: usize, to: usize, N: i32, format: i32, isRounded: bool): void {
  let n = 0;
  for (; n + 16 <= N; n += 16) {
    let a = v128.load(from), b = v128.load(from, 16), c = v128.load(from, 32), d = v128.load(from, 48);
    if (!isRounded) {
      a = rounded(a, a, format);
      b = rounded(b, b, format);
      c = rounded(c, c, format);
      d = rounded(d, d, format);
    }
    const v = v128.or(narrowed(a, format), i32x4.shr_u(narrowed(c, format), 16));
    const w = v128.or(narrowed(b, format), i32x4.shr_u(narrowed(d, format), 16));
    v128.store(to, v);
    v128.store(to, w, 16);
    from += 64;
    to += 32;
  }
  for (; n < N; n++) {
    let h = v128.load32_splat(from);
    if (!isRounded) h = rounded(h, h, format);
    store<u16>(to, <u16>(i32x4.extract_lane(narrowed(h, format), 0) >>> 16));
    from += 4;
    to += 2;
  }
}

/**
 * One token over one row: h moves on, and the lanes' sums of h C go to `sums`.
 * @param factor of the row's random bits, whose columns have `factors`.
 */
// @ts-ignore: decorator
@inline
function stepRow(
  row: usize, dx: usize, B: usize, C: usize, decay: usize, sums: usize, N: i32, factor: u32, factors: usize, format: i32,
): void {
  const isRandom = format == FLOAT16_RANDOM || format == BFLOAT16_RANDOM;
  const a = v128.load32_splat(decay);
  const x = v128.load32_splat(dx);
  const f = i32x4.splat(<i32>factor);
  const whole: usize = <usize>(N & ~15) << 2;
  let u = f32x4.splat(0), v = u;
  for (let n: usize = 0; n < whole; n += 64) {
    const s = row + n, b = B + n, c = C + n, e = factors + n;
    let h0 = v128.load(s), h1 = v128.load(s, 16), h2 = v128.load(s, 32), h3 = v128.load(s, 48);
    h0 = madd(h0, a, f32x4.mul(x, v128.load(b)));
    h1 = madd(h1, a, f32x4.mul(x, v128.load(b, 16)));
    h2 = madd(h2, a, f32x4.mul(x, v128.load(b, 32)));
    h3 = madd(h3, a, f32x4.mul(x, v128.load(b, 48)));
    u = madd(h2, v128.load(c, 32), madd(h0, v128.load(c), u));
    v = madd(h3, v128.load(c, 48), madd(h1, v128.load(c, 16), v));
    if (isRandom) {
      h0 = rounded(h0, i32x4.mul(f, v128.load(e)), format);
      h1 = rounded(h1, i32x4.mul(f, v128.load(e, 16)), format);
      h2 = rounded(h2, i32x4.mul(f, v128.load(e, 32)), format);
      h3 = rounded(h3, i32x4.mul(f, v128.load(e, 48)), format);
    } else {
      h0 = rounded(h0, h0, format);
      h1 = rounded(h1, h1, format);
      h2 = rounded(h2, h2, format);
      h3 = rounded(h3, h3, format);
    }
    v128.store(s, h0);
    v128.store(s, h1, 16);
    v128.store(s, h2, 32);
    v128.store(s, h3, 48);
  }
  v128.store(sums, u);
  v128.store(sums, v, 16);
  let sum = load<f32>(sums);
  for (let n = whole; n < <usize>N << 2; n += 4) {
    const h = load<f32>(row + n) * load<f32>(decay) + load<f32>(dx) * load<f32>(B + n);
    sum += h * load<f32>(C + n);
    store<f32>(row + n, roundedOne(h, isRandom ? <i32>(factor * load<u32>(factors + n)) : 0, format));
  }
  store<f32>(sums, sum);
}

/** The tokens of a block over up to four rows of a head, from `first` on, which lie in `rows` meanwhile. */
// @ts-ignore: decorator
@inline
function stepRows(
  state: usize, rows: usize, count: i32, dx: usize, dxStride: usize, B: usize, C: usize, decay: usize, decayStride: usize,
  sums: usize, tokens: i32, N: i32, first: i32, keys: usize, factors: usize, format: i32,
): void {
  const rowBytes: usize = <usize>N << 2;
  for (let i: usize = 0; i < <usize>count; i++) widenRow(state + i * (rowBytes >> 1), rows + i * rowBytes, N, format);
  for (let t: usize = 0; t < <usize>tokens; t++) {
    for (let i: usize = 0; i < <usize>count; i++) {
      const isRandom = format == FLOAT16_RANDOM || format == BFLOAT16_RANDOM;
      const factor: u32 = isRandom ? mix(load<u32>(keys + (t << 2)) + (<u32>first + <u32>i) * 0x85ebca6b) | 1 : 0;
      stepRow(
        rows + i * rowBytes, dx + t * dxStride + (i << 2), B + t * rowBytes, C + t * rowBytes, decay + t * decayStride,
        sums + (t << 7) + (i << 5), N, factor, factors, format,
      );
    }
  }
  for (let i: usize = 0; i < <usize>count; i++) narrowRow(rows + i * rowBytes, state + i * (rowBytes >> 1), N, format, true);
}

// A function for each format, so that what depends on it is decided when kernels are compiled.

function float16Rows(
  state: usize, rows: usize, count: i32, dx: usize, dxStride: usize, B: usize, C: usize, decay: usize, decayStride: usize,
  sums: usize, tokens: i32, N: i32,
): void {
  stepRows(state, rows, count, dx, dxStride, B, C, decay, decayStride, sums, tokens, N, 0, 0, 0, FLOAT16);
}

function float16RandomRows(
  state: usize, rows: usize, count: i32, dx: usize, dxStride: usize, B: usize, C: usize, decay: usize, decayStride: usize,
  sums: usize, tokens: i32, N: i32, first: i32, keys: usize, factors: usize,
): void {
  stepRows(state, rows, count, dx, dxStride, B, C, decay, decayStride, sums, tokens, N, first, keys, factors, FLOAT16_RANDOM);
}

function bfloat16Rows(
  state: usize, rows: usize, count: i32, dx: usize, dxStride: usize, B: usize, C: usize, decay: usize, decayStride: usize,
  sums: usize, tokens: i32, N: i32,
): void {
  stepRows(state, rows, count, dx, dxStride, B, C, decay, decayStride, sums, tokens, N, 0, 0, 0, BFLOAT16);
}

function bfloat16RandomRows(
  state: usize, rows: usize, count: i32, dx: usize, dxStride: usize, B: usize, C: usize, decay: usize, decayStride: usize,
  sums: usize, tokens: i32, N: i32, first: i32, keys: usize, factors: usize,
): void {
  stepRows(state, rows, count, dx, dxStride, B, C, decay, decayStride, sums, tokens, N, first, keys, factors, BFLOAT16_RANDOM);
}

/**
 * As `scanSequence`, over a state of 16 bits. `format` is one of the numbers above; random ones round by `key`, by the
 * position of the sequence's first token, and by the place in the state, whose first row is `firstRow` over all ranks.
 * Scratch: {@link scanShortScratch} bytes.
 */
export function scanShortSequence(
  x: usize, xStride: usize, dt: usize, dtStride: usize, B: usize, bStride: usize, C: usize, cStride: usize,
  z: usize, zStride: usize, out: usize, outStride: usize, A: usize, dtBias: usize, D: usize, state: usize,
  tokens: i32, H: i32, P: i32, N: i32, headsPerGroup: i32, useSoftplus: bool, low: f32, high: f32, scratch: usize,
  format: i32, key: u32, firstRow: i32, position: u32,
): void {
  columnFactors(scratch, N);
  scan(
    x, xStride, dt, dtStride, B, bStride, C, cStride, z, zStride, out, outStride, A, dtBias, D, state, tokens, H, P, N,
    headsPerGroup, useSoftplus, low, high, scratch, format, key, firstRow, position,
  );
}

/** As `scanRows`, over states of 16 bits. positions: of each row's token, where the format is a random one. */
export function scanShortRows(
  x: usize, xStride: usize, dt: usize, dtStride: usize, B: usize, bStride: usize, C: usize, cStride: usize,
  z: usize, zStride: usize, out: usize, outStride: usize, A: usize, dtBias: usize, D: usize, states: usize, slotBytes: usize,
  slots: usize, rows: i32, padding: usize, H: i32, P: i32, N: i32, headsPerGroup: i32, useSoftplus: bool, low: f32, high: f32,
  scratch: usize, format: i32, key: u32, firstRow: i32, positions: usize,
): void {
  columnFactors(scratch, N);
  for (let r: usize = 0; r < <usize>rows; r++) {
    const slot = load<i32>(slots + (r << 2));
    if (slot < 0) memory.fill(padding, 0, slotBytes);
    scan(
      x + r * xStride, xStride, dt + r * dtStride, dtStride, B + r * bStride, bStride, C + r * cStride, cStride,
      z ? z + r * zStride : 0, zStride, out + r * outStride, outStride, A, dtBias, D,
      slot < 0 ? padding : states + <usize>slot * slotBytes, 1, H, P, N, headsPerGroup, useSoftplus, low, high, scratch,
      format, key, firstRow, positions ? load<u32>(positions + (r << 2)) : 0,
    );
  }
}

/** Bytes that {@link scanShortSequence} works in. */
export function scanShortScratch(tokens: i32, H: i32, P: i32, N: i32): usize {
  const perToken = 2 * (N + <i32>paddedHeads(H)) + 1;
  return <usize>(5 * N + BLOCK * (32 + P) + min(tokens, CHUNK) * perToken) << 2;
}

/** Memory: factors of the columns, four rows, sums, Δ x, B, C, Δ, decays, keys of tokens. */
function scan(
  x: usize, xStride: usize, dt: usize, dtStride: usize, B: usize, bStride: usize, C: usize, cStride: usize,
  z: usize, zStride: usize, out: usize, outStride: usize, A: usize, dtBias: usize, D: usize, state: usize,
  tokens: i32, H: i32, P: i32, N: i32, headsPerGroup: i32, useSoftplus: bool, low: f32, high: f32, factors: usize,
  format: i32, key: u32, firstRow: i32, position: u32,
): void {
  const headBytes: usize = <usize>P << 2;
  const rowBytes: usize = <usize>N << 2;
  const stateRow: usize = rowBytes >> 1;
  const stepBytes: usize = paddedHeads(H) << 2;
  const room = min(tokens, CHUNK);
  const rows = factors + rowBytes;
  const sums = rows + (rowBytes << 2);
  const dx = sums + (<usize>BLOCK << 7);
  const Bs = dx + <usize>BLOCK * headBytes;
  const Cs = Bs + <usize>room * rowBytes;
  const deltas = Cs + <usize>room * rowBytes;
  const decays = deltas + <usize>room * stepBytes;
  const keys = decays + <usize>room * stepBytes;
  for (let chunk = 0; chunk < tokens; chunk += CHUNK) {
    const length = min(CHUNK, tokens - chunk);
    steps(dt + <usize>chunk * dtStride, dtStride, A, dtBias, length, H, useSoftplus, low, high, deltas, decays, stepBytes);
    for (let t = 0; t < length; t++) {
      store<u32>(keys + (<usize>t << 2), mix(key + (position + <u32>(chunk + t)) * 0x9e3779b1));
    }
    for (let h = 0; h < H; h++) {
      if (h % headsPerGroup == 0) {
        const column = <usize>(h / headsPerGroup) * rowBytes;
        gatherRows(B + <usize>chunk * bStride + column, bStride, Bs, rowBytes, length);
        gatherRows(C + <usize>chunk * cStride + column, cStride, Cs, rowBytes, length);
      }
      const head = <usize>h << 2;
      const at = <usize>h * headBytes;
      const skip = load<f32>(D + head);
      for (let begin = 0; begin < length; begin += BLOCK) {
        const block = min(BLOCK, length - begin);
        const token = <usize>(chunk + begin);
        const decay = decays + <usize>begin * stepBytes + head;
        const b = Bs + <usize>begin * rowBytes, c = Cs + <usize>begin * rowBytes, k = keys + (<usize>begin << 2);
        scaleRows(x + token * xStride + at, xStride, deltas + <usize>begin * stepBytes + head, stepBytes, dx, P, block);
        for (let p = 0; p < P; p += 4) {
          const count = min(4, P - p);
          const first = h * P + p;
          const row = firstRow + first;
          const s = state + <usize>first * stateRow;
          const column = dx + (<usize>p << 2);
          if (format == FLOAT16) float16Rows(s, rows, count, column, headBytes, b, c, decay, stepBytes, sums, block, N);
          else if (format == BFLOAT16) bfloat16Rows(s, rows, count, column, headBytes, b, c, decay, stepBytes, sums, block, N);
          else if (format == FLOAT16_RANDOM) {
            float16RandomRows(s, rows, count, column, headBytes, b, c, decay, stepBytes, sums, block, N, row, k, factors);
          } else {
            bfloat16RandomRows(s, rows, count, column, headBytes, b, c, decay, stepBytes, sums, block, N, row, k, factors);
          }
          const from = x + token * xStride + at + (<usize>p << 2);
          const gate = z ? z + token * zStride + at + (<usize>p << 2) : 0;
          outputs(sums, from, xStride, gate, zStride, out + token * outStride + at + (<usize>p << 2), outStride, skip, block, count);
        }
      }
    }
  }
}

/** (h C + D x) * silu(z) of up to four channels. */
function outputs(
  sums: usize, x: usize, xStride: usize, z: usize, zStride: usize, out: usize, outStride: usize, D: f32, tokens: i32, count: i32,
): void {
  const skip = f32x4.splat(D);
  for (let t: usize = 0; t < <usize>tokens; t++) {
    if (count == 4) {
      let y = madd(skip, v128.load(x), sumFour(sums));
      if (z) y = f32x4.mul(y, silu4(v128.load(z)));
      v128.store(out, y);
    } else {
      for (let i: usize = 0; i < <usize>count; i++) {
        const lanes = f32x4.add(v128.load(sums + (i << 5)), v128.load(sums + (i << 5), 16));
        let y = sumLanes(lanes) + D * load<f32>(x + (i << 2));
        if (z) y *= f32x4.extract_lane(silu4(f32x4.splat(load<f32>(z + (i << 2)))), 0);
        store<f32>(out + (i << 2), y);
      }
    }
    sums += 128;
    x += xStride;
    out += outStride;
    if (z) z += zStride;
  }
}
