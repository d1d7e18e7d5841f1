// The causal depthwise convolution. A state holds, per channel, its last W inputs, oldest first: [channel][W].
// Sums start from the bias and go from the oldest tap to the newest. Lanes are channels, so taps and states are turned
// around on the way in and out. One token is a sequence of one: it has the same bits decoded as prefilled.

import { madd, silu4 } from './math';

/**
 * One sequence. weight is [channel][K]; bias may be null. `padded` is `channels` rounded up to 4; rows of out and the
 * scratch, K + 1 + W rows of `padded` floats, are written up to there.
 */
export function convSequence(
  x: usize, xStride: usize, weight: usize, bias: usize, state: usize, out: usize, outStride: usize,
  tokens: i32, channels: i32, padded: i32, K: i32, W: i32, hasInitialState: bool, silu: bool, scratch: usize,
): void {
  const taps = tapRows(weight, bias, channels, padded, K, scratch);
  const past = scratch + <usize>((K + 1) * padded << 2);
  if (hasInitialState) toRows(state, past, channels, padded, W);
  else memory.fill(past, 0, <usize>(W * padded << 2));
  convTokens(x, xStride, taps, past, out, outStride, tokens, padded, K, W, silu);
  saveState(x, xStride, past, state, tokens, channels, padded, W);
}

/**
 * One token of each of `rows` sequences: row r continues slot slots[r], `slotBytes` bytes apart from `states` on. A
 * negative slot pads: its row passes through. Scratch as for {@link convSequence}.
 */
export function convRows(
  x: usize, xStride: usize, weight: usize, bias: usize, states: usize, slotBytes: usize, slots: usize, out: usize, outStride: usize,
  rows: i32, channels: i32, padded: i32, K: i32, W: i32, silu: bool, scratch: usize,
): void {
  const taps = tapRows(weight, bias, channels, padded, K, scratch);
  const past = scratch + <usize>((K + 1) * padded << 2);
  for (let r = 0; r < rows; r++) {
    const slot = load<i32>(slots + (<usize>r << 2));
    if (slot < 0) {
      memory.copy(out, x, <usize>channels << 2);
    } else {
      const state = states + <usize>slot * slotBytes;
      toRows(state, past, channels, padded, W);
      convTokens(x, xStride, taps, past, out, outStride, 1, padded, K, W, silu);
      saveState(x, xStride, past, state, 1, channels, padded, W);
    }
    x += xStride;
    out += outStride;
  }
}

/** Taps as K rows of channels, then the bias or zeros. */
function tapRows(weight: usize, bias: usize, channels: i32, padded: i32, K: i32, scratch: usize): usize {
  toRows(weight, scratch, channels, padded, K);
  const start = scratch + <usize>(K * padded << 2);
  if (bias) memory.copy(start, bias, <usize>channels << 2);
  else memory.fill(start, 0, <usize>padded << 2);
  return scratch;
}

/** [channel][count] → count rows of channels. */
function toRows(from: usize, to: usize, channels: i32, padded: i32, count: i32): void {
  const rowBytes: usize = <usize>padded << 2;
  let c = 0;
  if (count == 4) {
    for (; c + 4 <= channels; c += 4) {
      const a = v128.load(from), b = v128.load(from, 16), d = v128.load(from, 32), e = v128.load(from, 48);
      const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5), de = v128.shuffle<i32>(d, e, 0, 4, 1, 5);
      const ab2 = v128.shuffle<i32>(a, b, 2, 6, 3, 7), de2 = v128.shuffle<i32>(d, e, 2, 6, 3, 7);
      const at = to + (<usize>c << 2);
      v128.store(at, v128.shuffle<i64>(ab, de, 0, 2));
      v128.store(at + rowBytes, v128.shuffle<i64>(ab, de, 1, 3));
      v128.store(at + 2 * rowBytes, v128.shuffle<i64>(ab2, de2, 0, 2));
      v128.store(at + 3 * rowBytes, v128.shuffle<i64>(ab2, de2, 1, 3));
      from += 64;
    }
  } else if (count == 3) {
    for (; c + 4 <= channels; c += 4) {
      const a = v128.load(from), b = v128.load(from, 16), d = v128.load(from, 32);
      const at = to + (<usize>c << 2);
      v128.store(at, v128.shuffle<i32>(v128.shuffle<i32>(a, b, 0, 3, 6, 6), d, 0, 1, 2, 5));
      v128.store(at + rowBytes, v128.shuffle<i32>(v128.shuffle<i32>(a, b, 1, 4, 7, 7), d, 0, 1, 2, 6));
      v128.store(at + 2 * rowBytes, v128.shuffle<i32>(v128.shuffle<i32>(a, b, 2, 5, 5, 5), d, 0, 1, 4, 7));
      from += 48;
    }
  }
  for (; c < channels; c++) {
    for (let i: usize = 0; i < <usize>count; i++) store<f32>(to + i * rowBytes + (<usize>c << 2), load<f32>(from + (i << 2)));
    from += <usize>count << 2;
  }
}

/** The last W inputs of [past | x] → [channel][W]. */
function saveState(x: usize, xStride: usize, past: usize, state: usize, tokens: i32, channels: i32, padded: i32, W: i32): void {
  let c = 0;
  if (W == 3) {
    const r0 = inputRow(x, xStride, past, padded, W, tokens - 3);
    const r1 = inputRow(x, xStride, past, padded, W, tokens - 2);
    const r2 = inputRow(x, xStride, past, padded, W, tokens - 1);
    for (; c + 4 <= channels; c += 4) {
      const at = <usize>c << 2;
      const p = v128.load(r0 + at), q = v128.load(r1 + at), r = v128.load(r2 + at);
      const pq = v128.shuffle<i32>(p, q, 0, 4, 1, 5), pq2 = v128.shuffle<i32>(p, q, 2, 6, 3, 7);
      v128.store(state, v128.shuffle<i32>(pq, r, 0, 1, 4, 2));
      v128.store(state, v128.shuffle<i32>(v128.shuffle<i32>(pq, pq2, 3, 4, 5, 5), r, 0, 5, 1, 2), 16);
      v128.store(state, v128.shuffle<i32>(pq2, r, 6, 2, 3, 7), 32);
      state += 48;
    }
  }
  for (; c < channels; c++) {
    for (let w = 0; w < W; w++) {
      store<f32>(state, load<f32>(inputRow(x, xStride, past, padded, W, tokens - W + w) + (<usize>c << 2)));
      state += 4;
    }
  }
}

/** Input t of the sequence; negative ones lie in the past. */
// @ts-ignore: decorator
@inline
function inputRow(x: usize, xStride: usize, past: usize, padded: i32, W: i32, t: i32): usize {
  return t < 0 ? past + <usize>((W + t) * padded << 2) : x + <usize>t * xStride;
}

function convTokens(
  x: usize, xStride: usize, taps: usize, past: usize, out: usize, outStride: usize, tokens: i32, padded: i32, K: i32, W: i32, silu: bool,
): void {
  const rowBytes: usize = <usize>padded << 2;
  for (let t = 0; t < tokens; t++) {
    if (K == 4) {
      fourTaps(
        inputRow(x, xStride, past, padded, W, t - 3), inputRow(x, xStride, past, padded, W, t - 2),
        inputRow(x, xStride, past, padded, W, t - 1), inputRow(x, xStride, past, padded, W, t), taps, out, rowBytes, silu,
      );
    } else {
      memory.copy(out, taps + <usize>K * rowBytes, rowBytes);
      for (let k = 0; k < K; k++) {
        addTap(out, inputRow(x, xStride, past, padded, W, t - (K - 1) + k), taps + <usize>k * rowBytes, rowBytes);
      }
      if (silu) siluRow(out, rowBytes);
    }
    out += outStride;
  }
}

/** The number of taps that every published model has, with the activation in the same pass. */
function fourTaps(x0: usize, x1: usize, x2: usize, x3: usize, taps: usize, out: usize, rowBytes: usize, silu: bool): void {
  const w1 = taps + rowBytes, w2 = w1 + rowBytes, w3 = w2 + rowBytes, start = w3 + rowBytes;
  let c: usize = 0;
  for (; c + 32 <= rowBytes; c += 32) {
    let a = madd(v128.load(taps + c), v128.load(x0 + c), v128.load(start + c));
    let b = madd(v128.load(taps + c, 16), v128.load(x0 + c, 16), v128.load(start + c, 16));
    a = madd(v128.load(w1 + c), v128.load(x1 + c), a);
    b = madd(v128.load(w1 + c, 16), v128.load(x1 + c, 16), b);
    a = madd(v128.load(w2 + c), v128.load(x2 + c), a);
    b = madd(v128.load(w2 + c, 16), v128.load(x2 + c, 16), b);
    a = madd(v128.load(w3 + c), v128.load(x3 + c), a);
    b = madd(v128.load(w3 + c, 16), v128.load(x3 + c, 16), b);
    if (silu) {
      a = silu4(a);
      b = silu4(b);
    }
    v128.store(out + c, a);
    v128.store(out + c, b, 16);
  }
  for (; c < rowBytes; c += 16) {
    let a = madd(v128.load(taps + c), v128.load(x0 + c), v128.load(start + c));
    a = madd(v128.load(w1 + c), v128.load(x1 + c), a);
    a = madd(v128.load(w2 + c), v128.load(x2 + c), a);
    a = madd(v128.load(w3 + c), v128.load(x3 + c), a);
    v128.store(out + c, silu ? silu4(a) : a);
  }
}

function addTap(out: usize, x: usize, tap: usize, rowBytes: usize): void {
  for (let c: usize = 0; c < rowBytes; c += 16) {
    v128.store(out + c, madd(v128.load(tap + c), v128.load(x + c), v128.load(out + c)));
  }
}

function siluRow(x: usize, rowBytes: usize): void {
  for (let c: usize = 0; c < rowBytes; c += 16) v128.store(x + c, silu4(v128.load(x + c)));
}
