// The selective state-space recurrence, h = exp(A Δ) h + Δ x ⊗ B, y = h C + D x, over the tokens of one sequence.
//
// A state is [head][P][N] as everywhere. Lanes run over N. A tile of 4 channels and 16 states stays in registers while
// the tokens of a block pass, so that the state is read and written once per block and not per token. A token's y sums
// over the tiles in lanes, in memory, and over the lanes last: an order that does not depend on the number of tokens,
// so that a token has the same bits decoded as prefilled.
//
// Values that are read and written in pairs of vectors are all read before the first is written: only then can V8 make
// one 256-bit instruction of each pair.

import { store16 } from './linear-float';
import { exp4, madd, silu4, softplus4, sumLanes } from './math';

/** Tokens that pass while a tile stays in registers. Their inputs and sums fit the first-level cache. */
export const BLOCK: i32 = 32;
/** Tokens that pass while a head's state stays in the second-level cache. */
export const CHUNK: i32 = 128;

/**
 * All heads of one sequence. x, z and out rows hold H * P columns, dt rows H, B and C rows G * N. z may be null.
 * Parameters are per head: A, dtBias, D (H). Scratch: {@link scanScratch} bytes.
 */
export function scanSequence(
  x: usize, xStride: usize, dt: usize, dtStride: usize, B: usize, bStride: usize, C: usize, cStride: usize,
  z: usize, zStride: usize, out: usize, outStride: usize, A: usize, dtBias: usize, D: usize, state: usize,
  tokens: i32, H: i32, P: i32, N: i32, headsPerGroup: i32, useSoftplus: bool, low: f32, high: f32, scratch: usize,
): void {
  const headBytes: usize = <usize>P << 2;
  const rowBytes: usize = <usize>N << 2;
  const stateBytes: usize = <usize>P * rowBytes;
  const stepBytes: usize = paddedHeads(H) << 2;
  const room = min(tokens, CHUNK);
  const sums = scratch;
  const dx = sums + (<usize>BLOCK << 7);
  const Bs = dx + <usize>BLOCK * headBytes;
  const Cs = Bs + <usize>room * rowBytes;
  const deltas = Cs + <usize>room * rowBytes;
  const decays = deltas + <usize>room * stepBytes;
  for (let chunk = 0; chunk < tokens; chunk += CHUNK) {
    const count = min(CHUNK, tokens - chunk);
    steps(dt + <usize>chunk * dtStride, dtStride, A, dtBias, count, H, useSoftplus, low, high, deltas, decays, stepBytes);
    for (let h = 0; h < H; h++) {
      if (h % headsPerGroup == 0) {
        const column = <usize>(h / headsPerGroup) * rowBytes;
        gatherRows(B + <usize>chunk * bStride + column, bStride, Bs, rowBytes, count);
        gatherRows(C + <usize>chunk * cStride + column, cStride, Cs, rowBytes, count);
      }
      const head = <usize>h << 2;
      const at = <usize>h * headBytes;
      for (let begin = 0; begin < count; begin += BLOCK) {
        const row = <usize>(chunk + begin);
        const block = min(BLOCK, count - begin);
        const step = <usize>begin * stepBytes + head;
        scaleRows(x + row * xStride + at, xStride, deltas + step, stepBytes, dx, P, block);
        scanHead(
          state + <usize>h * stateBytes, dx, Bs + <usize>begin * rowBytes, Cs + <usize>begin * rowBytes, decays + step, stepBytes, sums,
          x + row * xStride + at, xStride, z ? z + row * zStride + at : 0, zStride, out + row * outStride + at, outStride,
          load<f32>(D + head), block, P, N,
        );
      }
    }
  }
}

/** Bytes that {@link scanSequence} works in. */
export function scanScratch(tokens: i32, H: i32, P: i32, N: i32): usize {
  const perToken = 2 * (N + <i32>paddedHeads(H));
  return <usize>(BLOCK * (32 + P) + min(tokens, CHUNK) * perToken) << 2;
}

/**
 * One token of each of `rows` sequences: row r continues the state of slot slots[r], `slotBytes` bytes apart from
 * `states` on. A negative slot pads: its row starts from zeros, in `padding`, and leaves no state.
 */
export function scanRows(
  x: usize, xStride: usize, dt: usize, dtStride: usize, B: usize, bStride: usize, C: usize, cStride: usize,
  z: usize, zStride: usize, out: usize, outStride: usize, A: usize, dtBias: usize, D: usize, states: usize, slotBytes: usize,
  slots: usize, rows: i32, padding: usize, H: i32, P: i32, N: i32, headsPerGroup: i32, useSoftplus: bool, low: f32, high: f32,
  scratch: usize,
): void {
  for (let r: usize = 0; r < <usize>rows; r++) {
    const slot = load<i32>(slots + (r << 2));
    if (slot < 0) memory.fill(padding, 0, <usize>(H * P * N) << 2);
    scanSequence(
      x + r * xStride, xStride, dt + r * dtStride, dtStride, B + r * bStride, bStride, C + r * cStride, cStride,
      z ? z + r * zStride : 0, zStride, out + r * outStride, outStride, A, dtBias, D,
      slot < 0 ? padding : states + <usize>slot * slotBytes, 1, H, P, N, headsPerGroup, useSoftplus, low, high, scratch,
    );
  }
}

// @ts-ignore: decorator
@inline
export function paddedHeads(H: i32): usize {
  return <usize>(H + 3) & ~3;
}

/** Per token and head Δ = clamp(softplus(dt + bias)) and the decay exp(A Δ). */
export function steps(
  dt: usize, dtStride: usize, A: usize, bias: usize, tokens: i32, H: i32, useSoftplus: bool, low: f32, high: f32,
  deltas: usize, decays: usize, stepBytes: usize,
): void {
  const zero = f32x4.splat(0);
  const lowest = f32x4.splat(low), highest = f32x4.splat(high);
  for (let t = 0; t < tokens; t++) {
    for (let h: usize = 0; h < stepBytes; h += 16) {
      let delta = f32x4.add(v128.load(dt + h), v128.load(bias + h));
      if (useSoftplus) delta = softplus4(delta);
      delta = f32x4.pmin(f32x4.pmax(delta, lowest), highest);
      v128.store(deltas + h, delta);
      v128.store(decays + h, exp4(f32x4.pmin(f32x4.mul(v128.load(A + h), delta), zero)));
    }
    dt += dtStride;
    deltas += stepBytes;
    decays += stepBytes;
  }
}

/** Puts `count` rows one after another. */
export function gatherRows(from: usize, stride: usize, to: usize, rowBytes: usize, count: i32): void {
  for (let t: usize = 0; t < <usize>count; t++) memory.copy(to + t * rowBytes, from + t * stride, rowBytes);
}

/** Δ x of a head's P channels, for `count` tokens, one after another. */
export function scaleRows(
  x: usize, xStride: usize, deltas: usize, deltaStride: usize, out: usize, P: i32, count: i32,
): void {
  const rowBytes: usize = <usize>P << 2;
  for (let t: usize = 0; t < <usize>count; t++) {
    scaleRow(x + t * xStride, load<f32>(deltas + t * deltaStride), out + t * rowBytes, P);
  }
}

/** out = x * factor */
function scaleRow(x: usize, factor: f32, out: usize, count: i32): void {
  const f = f32x4.splat(factor);
  let i = 0;
  for (; i + 8 <= count; i += 8) {
    const at = <usize>i << 2;
    const a = v128.load(x + at), b = v128.load(x + at, 16);
    v128.store(out + at, f32x4.mul(a, f));
    v128.store(out + at, f32x4.mul(b, f), 16);
  }
  for (; i < count; i++) store<f32>(out + (<usize>i << 2), load<f32>(x + (<usize>i << 2)) * factor);
}

/** The sums of four channels' 8 lanes each, side by side; each in the order of {@link sumLanes}. */
// @ts-ignore: decorator
@inline
export function sumFour(sums: usize): v128 {
  const a = f32x4.add(v128.load(sums), v128.load(sums, 16));
  const b = f32x4.add(v128.load(sums, 32), v128.load(sums, 48));
  const c = f32x4.add(v128.load(sums, 64), v128.load(sums, 80));
  const d = f32x4.add(v128.load(sums, 96), v128.load(sums, 112));
  const ab01 = v128.shuffle<i32>(a, b, 0, 4, 1, 5), ab23 = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
  const cd01 = v128.shuffle<i32>(c, d, 0, 4, 1, 5), cd23 = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  const low = f32x4.add(v128.shuffle<i64>(ab01, cd01, 0, 2), v128.shuffle<i64>(ab01, cd01, 1, 3));
  const high = f32x4.add(v128.shuffle<i64>(ab23, cd23, 0, 2), v128.shuffle<i64>(ab23, cd23, 1, 3));
  return f32x4.add(low, high);
}

/**
 * All channels of one head over a block of tokens, four at a time: state (P, N) moves on, and rows of out get
 * (h C + D x) * silu(z).
 */
function scanHead(
  state: usize, dx: usize, B: usize, C: usize, decay: usize, decayStride: usize, sums: usize, x: usize, xStride: usize,
  z: usize, zStride: usize, out: usize, outStride: usize, D: f32, tokens: i32, P: i32, N: i32,
): void {
  const rowBytes: usize = <usize>N << 2;
  const dxStride: usize = <usize>P << 2;
  const whole = N & ~15;
  const skip = f32x4.splat(D);
  let p = 0;
  for (; p + 4 <= P; p += 4) {
    const s = state + <usize>p * rowBytes;
    const at = <usize>p << 2;
    if (whole == 0) memory.fill(sums, 0, <usize>tokens << 7);
    else if (tokens == 1) fourRows(s, rowBytes, dx + at, B, C, decay, sums, whole);
    else firstTile(s, rowBytes, dx + at, dxStride, B, C, rowBytes, decay, decayStride, sums, tokens);
    for (let n = 16; n < whole && tokens > 1; n += 16) {
      const column = <usize>n << 2;
      nextTile(s + column, rowBytes, dx + at, dxStride, B + column, C + column, rowBytes, decay, decayStride, sums, tokens);
    }
    if (whole < N) {
      for (let i: usize = 0; i < 4; i++) {
        columns(s + i * rowBytes, dx + at + (i << 2), dxStride, B, C, decay, decayStride, sums + (i << 5), 128, tokens, whole, N);
      }
    }
    for (let t: usize = 0; t < <usize>tokens; t++) {
      let y = madd(skip, v128.load(x + t * xStride + at), sumFour(sums + (t << 7)));
      if (z) y = f32x4.mul(y, silu4(v128.load(z + t * zStride + at)));
      v128.store(out + t * outStride + at, y);
    }
  }
  for (; p < P; p++) {
    const s = state + <usize>p * rowBytes;
    const at = <usize>p << 2;
    memory.fill(sums, 0, <usize>tokens << 5);
    for (let n = 0; n < whole; n += 16) {
      const column = <usize>n << 2;
      tile1x16(s + column, dx + at, dxStride, B + column, C + column, rowBytes, decay, decayStride, sums, tokens);
    }
    if (whole < N) columns(s, dx + at, dxStride, B, C, decay, decayStride, sums, 32, tokens, whole, N);
    for (let t: usize = 0; t < <usize>tokens; t++) {
      const lanes = f32x4.add(v128.load(sums + (t << 5)), v128.load(sums + (t << 5), 16));
      let y = sumLanes(lanes) + D * load<f32>(x + t * xStride + at);
      if (z) y *= f32x4.extract_lane(silu4(f32x4.splat(load<f32>(z + t * zStride + at))), 0);
      store<f32>(out + t * outStride + at, y);
    }
  }
}

/** The first 16 states of four channels: their sums are what y begins with. */
function firstTile(
  state: usize, stateStride: usize, dx: usize, dxStride: usize, B: usize, C: usize, bcStride: usize, decay: usize, decayStride: usize,
  sums: usize, tokens: i32,
): void {
  tile4x16(state, stateStride, dx, dxStride, B, C, bcStride, decay, decayStride, sums, tokens, true);
}

/** The next 16 states of four channels: their sums join those of the states before. */
function nextTile(
  state: usize, stateStride: usize, dx: usize, dxStride: usize, B: usize, C: usize, bcStride: usize, decay: usize, decayStride: usize,
  sums: usize, tokens: i32,
): void {
  tile4x16(state, stateStride, dx, dxStride, B, C, bcStride, decay, decayStride, sums, tokens, false);
}

// @ts-ignore: decorator
@inline
function tile4x16(
  state: usize, stateStride: usize, dx: usize, dxStride: usize, B: usize, C: usize, bcStride: usize, decay: usize, decayStride: usize,
  sums: usize, tokens: i32, first: bool,
): void {
  const s0 = state, s1 = s0 + stateStride, s2 = s1 + stateStride, s3 = s2 + stateStride;
  let h00 = v128.load(s0), h01 = v128.load(s0, 16), h02 = v128.load(s0, 32), h03 = v128.load(s0, 48);
  let h10 = v128.load(s1), h11 = v128.load(s1, 16), h12 = v128.load(s1, 32), h13 = v128.load(s1, 48);
  let h20 = v128.load(s2), h21 = v128.load(s2, 16), h22 = v128.load(s2, 32), h23 = v128.load(s2, 48);
  let h30 = v128.load(s3), h31 = v128.load(s3, 16), h32 = v128.load(s3, 32), h33 = v128.load(s3, 48);
  for (let t = 0; t < tokens; t++) {
    const a = v128.load32_splat(decay);
    const b0 = v128.load(B), b1 = v128.load(B, 16), b2 = v128.load(B, 32), b3 = v128.load(B, 48);
    const c0 = v128.load(C), c1 = v128.load(C, 16), c2 = v128.load(C, 32), c3 = v128.load(C, 48);
    let x = v128.load32_splat(dx);
    h00 = madd(h00, a, f32x4.mul(x, b0));
    h01 = madd(h01, a, f32x4.mul(x, b1));
    h02 = madd(h02, a, f32x4.mul(x, b2));
    h03 = madd(h03, a, f32x4.mul(x, b3));
    const u0 = first ? f32x4.mul(h00, c0) : madd(h00, c0, v128.load(sums));
    const v0 = first ? f32x4.mul(h01, c1) : madd(h01, c1, v128.load(sums, 16));
    v128.store(sums, madd(h02, c2, u0));
    v128.store(sums, madd(h03, c3, v0), 16);
    x = v128.load32_splat(dx, 4);
    h10 = madd(h10, a, f32x4.mul(x, b0));
    h11 = madd(h11, a, f32x4.mul(x, b1));
    h12 = madd(h12, a, f32x4.mul(x, b2));
    h13 = madd(h13, a, f32x4.mul(x, b3));
    const u1 = first ? f32x4.mul(h10, c0) : madd(h10, c0, v128.load(sums, 32));
    const v1 = first ? f32x4.mul(h11, c1) : madd(h11, c1, v128.load(sums, 48));
    v128.store(sums, madd(h12, c2, u1), 32);
    v128.store(sums, madd(h13, c3, v1), 48);
    x = v128.load32_splat(dx, 8);
    h20 = madd(h20, a, f32x4.mul(x, b0));
    h21 = madd(h21, a, f32x4.mul(x, b1));
    h22 = madd(h22, a, f32x4.mul(x, b2));
    h23 = madd(h23, a, f32x4.mul(x, b3));
    const u2 = first ? f32x4.mul(h20, c0) : madd(h20, c0, v128.load(sums, 64));
    const v2 = first ? f32x4.mul(h21, c1) : madd(h21, c1, v128.load(sums, 80));
    v128.store(sums, madd(h22, c2, u2), 64);
    v128.store(sums, madd(h23, c3, v2), 80);
    x = v128.load32_splat(dx, 12);
    h30 = madd(h30, a, f32x4.mul(x, b0));
    h31 = madd(h31, a, f32x4.mul(x, b1));
    h32 = madd(h32, a, f32x4.mul(x, b2));
    h33 = madd(h33, a, f32x4.mul(x, b3));
    const u3 = first ? f32x4.mul(h30, c0) : madd(h30, c0, v128.load(sums, 96));
    const v3 = first ? f32x4.mul(h31, c1) : madd(h31, c1, v128.load(sums, 112));
    v128.store(sums, madd(h32, c2, u3), 96);
    v128.store(sums, madd(h33, c3, v3), 112);
    decay += decayStride;
    B += bcStride;
    C += bcStride;
    dx += dxStride;
    sums += 128;
  }
  store16(s0, h00, h01, h02, h03);
  store16(s1, h10, h11, h12, h13);
  store16(s2, h20, h21, h22, h23);
  store16(s3, h30, h31, h32, h33);
}

/**
 * One token, four channels: what the tiles compute, in an order that reads and writes the state from its first byte to
 * its last. A token alone waits for memory, which gives about twice as much that way.
 */
function fourRows(state: usize, rowBytes: usize, dx: usize, B: usize, C: usize, decay: usize, sums: usize, N: i32): void {
  const a = v128.load32_splat(decay);
  for (let i: usize = 0; i < 4; i++) {
    const x = v128.load32_splat(dx + (i << 2));
    let h0 = v128.load(state), h1 = v128.load(state, 16), h2 = v128.load(state, 32), h3 = v128.load(state, 48);
    h0 = madd(h0, a, f32x4.mul(x, v128.load(B)));
    h1 = madd(h1, a, f32x4.mul(x, v128.load(B, 16)));
    h2 = madd(h2, a, f32x4.mul(x, v128.load(B, 32)));
    h3 = madd(h3, a, f32x4.mul(x, v128.load(B, 48)));
    let u = madd(h2, v128.load(C, 32), f32x4.mul(h0, v128.load(C)));
    let v = madd(h3, v128.load(C, 48), f32x4.mul(h1, v128.load(C, 16)));
    store16(state, h0, h1, h2, h3);
    for (let n: usize = 64; n < <usize>N << 2; n += 64) {
      const s = state + n, b = B + n, c = C + n;
      h0 = v128.load(s);
      h1 = v128.load(s, 16);
      h2 = v128.load(s, 32);
      h3 = v128.load(s, 48);
      h0 = madd(h0, a, f32x4.mul(x, v128.load(b)));
      h1 = madd(h1, a, f32x4.mul(x, v128.load(b, 16)));
      h2 = madd(h2, a, f32x4.mul(x, v128.load(b, 32)));
      h3 = madd(h3, a, f32x4.mul(x, v128.load(b, 48)));
      u = madd(h2, v128.load(c, 32), madd(h0, v128.load(c), u));
      v = madd(h3, v128.load(c, 48), madd(h1, v128.load(c, 16), v));
      store16(s, h0, h1, h2, h3);
    }
    v128.store(sums, u);
    v128.store(sums, v, 16);
    state += rowBytes;
    sums += 32;
  }
}

function tile1x16(
  state: usize, dx: usize, dxStride: usize, B: usize, C: usize, bcStride: usize, decay: usize, decayStride: usize, sums: usize, tokens: i32,
): void {
  let h0 = v128.load(state), h1 = v128.load(state, 16), h2 = v128.load(state, 32), h3 = v128.load(state, 48);
  for (let t = 0; t < tokens; t++) {
    const a = v128.load32_splat(decay);
    const x = v128.load32_splat(dx);
    h0 = madd(h0, a, f32x4.mul(x, v128.load(B)));
    h1 = madd(h1, a, f32x4.mul(x, v128.load(B, 16)));
    h2 = madd(h2, a, f32x4.mul(x, v128.load(B, 32)));
    h3 = madd(h3, a, f32x4.mul(x, v128.load(B, 48)));
    const u = madd(h0, v128.load(C), v128.load(sums)), v = madd(h1, v128.load(C, 16), v128.load(sums, 16));
    v128.store(sums, madd(h2, v128.load(C, 32), u));
    v128.store(sums, madd(h3, v128.load(C, 48), v), 16);
    decay += decayStride;
    B += bcStride;
    C += bcStride;
    dx += dxStride;
    sums += 32;
  }
  store16(state, h0, h1, h2, h3);
}

/** States [begin, end) of one channel, one by one: what no tile covers. */
function columns(
  state: usize, dx: usize, dxStride: usize, B: usize, C: usize, decay: usize, decayStride: usize, sums: usize, sumStride: usize,
  tokens: i32, begin: i32, end: i32,
): void {
  for (let n = begin; n < end; n++) {
    const at = <usize>n << 2;
    let h = load<f32>(state + at);
    for (let t: usize = 0; t < <usize>tokens; t++) {
      const row = t * <usize>end << 2;
      h = h * load<f32>(decay + t * decayStride) + load<f32>(dx + t * dxStride) * load<f32>(B + row + at);
      store<f32>(sums + t * sumStride, load<f32>(sums + t * sumStride) + h * load<f32>(C + row + at));
    }
    store<f32>(state + at, h);
  }
}
