// The selective state-space recurrence, h = exp(A Δ) h + Δ x ⊗ B, y = h C + D x, over the tokens of one sequence.
//
// A state is [head][P][N] as everywhere. Lanes run over N. A tile of 4 channels and 16 states stays in registers while
// the tokens of a block pass, so that the state is read and written once per block and not per token. A token's y sums
// over the tiles in lanes, in memory, and over the lanes last: an order that does not depend on the number of tokens,
// so that a token has the same bits decoded as prefilled.

import { store16 } from './linear-f32';
import { exp1, silu4, softplus, sumLanes } from './math';

/** Tokens that pass while a tile stays in registers. Their inputs and sums fit the first-level cache. */
const BLOCK: i32 = 16;

/**
 * All heads of one sequence. x, z and out rows hold H * P columns, dt rows H, B and C rows G * N. z may be null.
 * Parameters are per head: A, dtBias, D (H). Scratch: 16 * (9 * P + 2 * N + 1) floats.
 */
export function scanSequence(
  x: usize, xStride: usize, dt: usize, dtStride: usize, B: usize, bStride: usize, C: usize, cStride: usize,
  z: usize, zStride: usize, out: usize, outStride: usize, A: usize, dtBias: usize, D: usize, state: usize,
  tokens: i32, H: i32, P: i32, N: i32, headsPerGroup: i32, useSoftplus: bool, low: f32, high: f32, scratch: usize,
): void {
  const sums = scratch;
  const dx = sums + (<usize>(BLOCK * P) << 5);
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
      memory.fill(sums, 0, <usize>(count * P) << 5);
      scanHead(state + <usize>h * stateBytes, dx, Bs, Cs, decay, sums, count, P, N);
      const skip = load<f32>(D + head);
      for (let t = 0; t < count; t++) {
        const row = <usize>(begin + t);
        const at = <usize>h * headBytes;
        const zRow = z ? z + row * zStride + at : 0;
        finishRow(sums + (<usize>(t * P) << 5), x + row * xStride + at, zRow, out + row * outStride + at, skip, P);
      }
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

/** out = (Σ lanes of sums + D x) * silu(z) */
function finishRow(sums: usize, x: usize, z: usize, out: usize, D: f32, P: i32): void {
  for (let p: usize = 0; p < <usize>P; p++) {
    const lanes = f32x4.add(v128.load(sums + (p << 5)), v128.load(sums + (p << 5), 16));
    let y = sumLanes(lanes) + D * load<f32>(x + (p << 2));
    if (z) y *= f32x4.extract_lane(silu4(f32x4.splat(load<f32>(z + (p << 2)))), 0);
    store<f32>(out + (p << 2), y);
  }
}

/** sums (tokens, P) of 8 lanes each += h C over all states; state (P, N) moves on by the block's tokens. */
function scanHead(state: usize, dx: usize, B: usize, C: usize, decay: usize, sums: usize, tokens: i32, P: i32, N: i32): void {
  const rowBytes: usize = <usize>N << 2;
  const whole = N & ~15;
  const dxStride: usize = <usize>P << 2;
  let p = 0;
  for (; p + 4 <= P; p += 4) {
    const s = state + <usize>p * rowBytes;
    for (let n = 0; n < whole; n += 16) {
      const at = <usize>n << 2;
      tile4x16(s + at, rowBytes, dx + (<usize>p << 2), dxStride, B + at, C + at, rowBytes, decay, sums + (<usize>p << 5), tokens);
    }
  }
  for (; p < P; p++) {
    const s = state + <usize>p * rowBytes;
    for (let n = 0; n < whole; n += 16) {
      const at = <usize>n << 2;
      tile1x16(s + at, dx + (<usize>p << 2), dxStride, B + at, C + at, rowBytes, decay, sums + (<usize>p << 5), tokens);
    }
  }
  if (whole == N) return;
  for (p = 0; p < P; p++) {
    columns(state + <usize>p * rowBytes, dx + (<usize>p << 2), P, B, C, decay, sums + (<usize>p << 5), tokens, whole, N);
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
    sums += dxStride << 3;
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
    sums += dxStride << 3;
  }
  store16(state, h0, h1, h2, h3);
}

/** States [begin, end) of one channel, one by one: what no tile covers. */
function columns(state: usize, dx: usize, P: i32, B: usize, C: usize, decay: usize, sums: usize, tokens: i32, begin: i32, end: i32): void {
  for (let n = begin; n < end; n++) {
    const at = <usize>n << 2;
    let h = load<f32>(state + at);
    for (let t = 0; t < tokens; t++) {
      const row = <usize>(t * end) << 2;
      h = h * load<f32>(decay + (<usize>t << 2)) + load<f32>(dx + (<usize>(t * P) << 2)) * load<f32>(B + row + at);
      const sum = sums + (<usize>(t * P) << 5);
      store<f32>(sum, load<f32>(sum) + h * load<f32>(C + row + at));
    }
    store<f32>(state + at, h);
  }
}
