// The selective state-space recurrence, h = exp(A Δ) h + Δ x ⊗ B, y = h C + D x, over the tokens of one sequence.
//
// A state is [head][P][N] as everywhere. Lanes run over N. A tile of 4 channels and 16 states stays in registers while
// the tokens of a block pass, so that the state is read and written once per block and not per token. A token's y sums
// over the tiles in lanes, in memory, and over the lanes last: an order that does not depend on the number of tokens,
// so that a token has the same bits decoded as prefilled.

import { store16 } from './linear-f32';
import { exp1, silu4, softplus, sumLanes } from './math';

/** Tokens that pass while a tile stays in registers. Their inputs and sums fit the first-level cache. */
const BLOCK: i32 = 32;

/**
 * All heads of one sequence. x, z and out rows hold H * P columns, dt rows H, B and C rows G * N. z may be null.
 * Parameters are per head: A, dtBias, D (H). Scratch: 16 * (32 + P + 2 * N + 1) floats.
 */
export function scanSequence(
  x: usize, xStride: usize, dt: usize, dtStride: usize, B: usize, bStride: usize, C: usize, cStride: usize,
  z: usize, zStride: usize, out: usize, outStride: usize, A: usize, dtBias: usize, D: usize, state: usize,
  tokens: i32, H: i32, P: i32, N: i32, headsPerGroup: i32, useSoftplus: bool, low: f32, high: f32, scratch: usize,
): void {
  const sums = scratch;
  const dx = sums + (<usize>BLOCK << 7);
  const Bs = dx + (<usize>(BLOCK * P) << 2);
  const Cs = Bs + (<usize>(BLOCK * N) << 2);
  const decay = Cs + (<usize>(BLOCK * N) << 2);
  const headBytes: usize = <usize>P << 2;
  const stateBytes: usize = <usize>(P * N) << 2;
  for (let begin = 0; begin < tokens; begin += BLOCK) {
    const count = min(BLOCK, tokens - begin);
    for (let h = 0; h < H; h++) {
      if (h % headsPerGroup == 0) {
        const column = <usize>(h / headsPerGroup * N) << 2;
        for (let t = 0; t < count; t++) {
          memory.copy(Bs + (<usize>(t * N) << 2), B + <usize>(begin + t) * bStride + column, <usize>N << 2);
          memory.copy(Cs + (<usize>(t * N) << 2), C + <usize>(begin + t) * cStride + column, <usize>N << 2);
        }
      }
      const head = <usize>h << 2;
      const a = load<f32>(A + head);
      const bias = load<f32>(dtBias + head);
      for (let t = 0; t < count; t++) {
        const raw = load<f32>(dt + <usize>(begin + t) * dtStride + head) + bias;
        const delta = min(high, max(low, useSoftplus ? softplus(raw) : raw));
        store<f32>(decay + (<usize>t << 2), exp1(min(<f32>0, a * delta)));
        scaleRow(x + <usize>(begin + t) * xStride + <usize>h * headBytes, delta, dx + <usize>t * headBytes, P);
      }
      const row = <usize>begin;
      const at = <usize>h * headBytes;
      scanHead(
        state + <usize>h * stateBytes, dx, Bs, Cs, decay, sums, x + row * xStride + at, xStride,
        z ? z + row * zStride + at : 0, zStride, out + row * outStride + at, outStride, load<f32>(D + head), count, P, N,
      );
    }
  }
}

/** out = x * factor */
function scaleRow(x: usize, factor: f32, out: usize, count: i32): void {
  const f = f32x4.splat(factor);
  let i = 0;
  for (; i + 4 <= count; i += 4) v128.store(out + (<usize>i << 2), f32x4.mul(v128.load(x + (<usize>i << 2)), f));
  for (; i < count; i++) store<f32>(out + (<usize>i << 2), load<f32>(x + (<usize>i << 2)) * factor);
}

/** The sums of four channels' 8 lanes each, side by side; each in the order of {@link sumLanes}. */
// @ts-ignore: decorator
@inline
function sumFour(sums: usize): v128 {
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
  state: usize, dx: usize, B: usize, C: usize, decay: usize, sums: usize, x: usize, xStride: usize, z: usize, zStride: usize,
  out: usize, outStride: usize, D: f32, tokens: i32, P: i32, N: i32,
): void {
  const rowBytes: usize = <usize>N << 2;
  const dxStride: usize = <usize>P << 2;
  const whole = N & ~15;
  const skip = f32x4.splat(D);
  let p = 0;
  for (; p + 4 <= P; p += 4) {
    const s = state + <usize>p * rowBytes;
    const at = <usize>p << 2;
    memory.fill(sums, 0, <usize>tokens << 7);
    for (let n = 0; n < whole; n += 16) {
      const column = <usize>n << 2;
      tile4x16(s + column, rowBytes, dx + at, dxStride, B + column, C + column, rowBytes, decay, sums, tokens);
    }
    if (whole < N) {
      for (let i: usize = 0; i < 4; i++) {
        columns(s + i * rowBytes, dx + at + (i << 2), dxStride, B, C, decay, sums + (i << 5), 128, tokens, whole, N);
      }
    }
    for (let t: usize = 0; t < <usize>tokens; t++) {
      let y = f32x4.add(sumFour(sums + (t << 7)), f32x4.mul(skip, v128.load(x + t * xStride + at)));
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
      tile1x16(s + column, dx + at, dxStride, B + column, C + column, rowBytes, decay, sums, tokens);
    }
    if (whole < N) columns(s, dx + at, dxStride, B, C, decay, sums, 32, tokens, whole, N);
    for (let t: usize = 0; t < <usize>tokens; t++) {
      const lanes = f32x4.add(v128.load(sums + (t << 5)), v128.load(sums + (t << 5), 16));
      let y = sumLanes(lanes) + D * load<f32>(x + t * xStride + at);
      if (z) y *= f32x4.extract_lane(silu4(f32x4.splat(load<f32>(z + t * zStride + at))), 0);
      store<f32>(out + t * outStride + at, y);
    }
  }
}

function tile4x16(
  state: usize, stateStride: usize, dx: usize, dxStride: usize, B: usize, C: usize, bcStride: usize, decay: usize, sums: usize, tokens: i32,
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
    h00 = f32x4.add(f32x4.mul(h00, a), f32x4.mul(x, b0));
    h01 = f32x4.add(f32x4.mul(h01, a), f32x4.mul(x, b1));
    h02 = f32x4.add(f32x4.mul(h02, a), f32x4.mul(x, b2));
    h03 = f32x4.add(f32x4.mul(h03, a), f32x4.mul(x, b3));
    v128.store(sums, f32x4.add(f32x4.add(v128.load(sums), f32x4.mul(h00, c0)), f32x4.mul(h02, c2)));
    v128.store(sums, f32x4.add(f32x4.add(v128.load(sums, 16), f32x4.mul(h01, c1)), f32x4.mul(h03, c3)), 16);
    x = v128.load32_splat(dx, 4);
    h10 = f32x4.add(f32x4.mul(h10, a), f32x4.mul(x, b0));
    h11 = f32x4.add(f32x4.mul(h11, a), f32x4.mul(x, b1));
    h12 = f32x4.add(f32x4.mul(h12, a), f32x4.mul(x, b2));
    h13 = f32x4.add(f32x4.mul(h13, a), f32x4.mul(x, b3));
    v128.store(sums, f32x4.add(f32x4.add(v128.load(sums, 32), f32x4.mul(h10, c0)), f32x4.mul(h12, c2)), 32);
    v128.store(sums, f32x4.add(f32x4.add(v128.load(sums, 48), f32x4.mul(h11, c1)), f32x4.mul(h13, c3)), 48);
    x = v128.load32_splat(dx, 8);
    h20 = f32x4.add(f32x4.mul(h20, a), f32x4.mul(x, b0));
    h21 = f32x4.add(f32x4.mul(h21, a), f32x4.mul(x, b1));
    h22 = f32x4.add(f32x4.mul(h22, a), f32x4.mul(x, b2));
    h23 = f32x4.add(f32x4.mul(h23, a), f32x4.mul(x, b3));
    v128.store(sums, f32x4.add(f32x4.add(v128.load(sums, 64), f32x4.mul(h20, c0)), f32x4.mul(h22, c2)), 64);
    v128.store(sums, f32x4.add(f32x4.add(v128.load(sums, 80), f32x4.mul(h21, c1)), f32x4.mul(h23, c3)), 80);
    x = v128.load32_splat(dx, 12);
    h30 = f32x4.add(f32x4.mul(h30, a), f32x4.mul(x, b0));
    h31 = f32x4.add(f32x4.mul(h31, a), f32x4.mul(x, b1));
    h32 = f32x4.add(f32x4.mul(h32, a), f32x4.mul(x, b2));
    h33 = f32x4.add(f32x4.mul(h33, a), f32x4.mul(x, b3));
    v128.store(sums, f32x4.add(f32x4.add(v128.load(sums, 96), f32x4.mul(h30, c0)), f32x4.mul(h32, c2)), 96);
    v128.store(sums, f32x4.add(f32x4.add(v128.load(sums, 112), f32x4.mul(h31, c1)), f32x4.mul(h33, c3)), 112);
    decay += 4;
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

function tile1x16(
  state: usize, dx: usize, dxStride: usize, B: usize, C: usize, bcStride: usize, decay: usize, sums: usize, tokens: i32,
): void {
  let h0 = v128.load(state), h1 = v128.load(state, 16), h2 = v128.load(state, 32), h3 = v128.load(state, 48);
  for (let t = 0; t < tokens; t++) {
    const a = v128.load32_splat(decay);
    const x = v128.load32_splat(dx);
    h0 = f32x4.add(f32x4.mul(h0, a), f32x4.mul(x, v128.load(B)));
    h1 = f32x4.add(f32x4.mul(h1, a), f32x4.mul(x, v128.load(B, 16)));
    h2 = f32x4.add(f32x4.mul(h2, a), f32x4.mul(x, v128.load(B, 32)));
    h3 = f32x4.add(f32x4.mul(h3, a), f32x4.mul(x, v128.load(B, 48)));
    v128.store(sums, f32x4.add(f32x4.add(v128.load(sums), f32x4.mul(h0, v128.load(C))), f32x4.mul(h2, v128.load(C, 32))));
    v128.store(sums, f32x4.add(f32x4.add(v128.load(sums, 16), f32x4.mul(h1, v128.load(C, 16))), f32x4.mul(h3, v128.load(C, 48))), 16);
    decay += 4;
    B += bcStride;
    C += bcStride;
    dx += dxStride;
    sums += 32;
  }
  store16(state, h0, h1, h2, h3);
}

/** States [begin, end) of one channel, one by one: what no tile covers. */
function columns(
  state: usize, dx: usize, dxStride: usize, B: usize, C: usize, decay: usize, sums: usize, sumStride: usize, tokens: i32, begin: i32, end: i32,
): void {
  for (let n = begin; n < end; n++) {
    const at = <usize>n << 2;
    let h = load<f32>(state + at);
    for (let t: usize = 0; t < <usize>tokens; t++) {
      const row = t * <usize>end << 2;
      h = h * load<f32>(decay + (t << 2)) + load<f32>(dx + t * dxStride) * load<f32>(B + row + at);
      store<f32>(sums + t * sumStride, load<f32>(sums + t * sumStride) + h * load<f32>(C + row + at));
    }
    store<f32>(state + at, h);
  }
}
