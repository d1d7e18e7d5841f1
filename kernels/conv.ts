// The causal depthwise convolution. A state holds, per channel, its last W inputs, oldest first: [channel][W].
// Sums start from the bias and go from the oldest tap to the newest, in lanes as in scalars.

import { silu4 } from './math';

/**
 * One sequence of several tokens. weight is [channel][K]; bias may be null. `padded` is `channels` rounded up to 4;
 * scratch holds K + 1 + W + tokens rows of `padded` floats.
 */
export function convSequence(
  x: usize, xStride: usize, weight: usize, bias: usize, state: usize, out: usize, outStride: usize,
  tokens: i32, channels: i32, padded: i32, K: i32, W: i32, hasInitialState: bool, silu: bool, scratch: usize,
): void {
  const rowBytes: usize = <usize>padded << 2;
  // Lanes are channels, so the taps are wanted one after another.
  const taps = scratch;
  for (let k = 0; k < K; k++) {
    const row = taps + <usize>k * rowBytes;
    for (let c = 0; c < channels; c++) store<f32>(row + (<usize>c << 2), load<f32>(weight + (<usize>(c * K + k) << 2)));
  }
  const start = taps + <usize>K * rowBytes;
  if (bias) memory.copy(start, bias, <usize>channels << 2);
  else memory.fill(start, 0, rowBytes);
  scratch = start + rowBytes;
  for (let w = 0; w < W; w++) {
    const row = scratch + <usize>w * rowBytes;
    if (hasInitialState) {
      for (let c = 0; c < channels; c++) store<f32>(row + (<usize>c << 2), load<f32>(state + (<usize>(c * W + w) << 2)));
    } else {
      memory.fill(row, 0, rowBytes);
    }
  }
  for (let t = 0; t < tokens; t++) {
    memory.copy(scratch + <usize>(W + t) * rowBytes, x + <usize>t * xStride, <usize>channels << 2);
  }
  let window = scratch + <usize>(W - (K - 1)) * rowBytes;
  for (let t = 0; t < tokens; t++) {
    if (K == 4) fourTaps(window, rowBytes, taps, start, out);
    else anyTaps(window, rowBytes, taps, start, out, K);
    if (silu) siluRow(out, rowBytes);
    window += rowBytes;
    out += outStride;
  }
  for (let w = 0; w < W; w++) {
    const row = scratch + <usize>(tokens + w) * rowBytes;
    for (let c = 0; c < channels; c++) store<f32>(state + (<usize>(c * W + w) << 2), load<f32>(row + (<usize>c << 2)));
  }
}

/** out = start + Σ taps[k] * window[k], for the number of taps that every published model has. */
function fourTaps(window: usize, rowBytes: usize, taps: usize, start: usize, out: usize): void {
  const x1 = window + rowBytes, x2 = x1 + rowBytes, x3 = x2 + rowBytes;
  const w1 = taps + rowBytes, w2 = w1 + rowBytes, w3 = w2 + rowBytes;
  let c: usize = 0;
  for (; c + 32 <= rowBytes; c += 32) {
    let a = f32x4.add(v128.load(start + c), f32x4.mul(v128.load(taps + c), v128.load(window + c)));
    let b = f32x4.add(v128.load(start + c, 16), f32x4.mul(v128.load(taps + c, 16), v128.load(window + c, 16)));
    a = f32x4.add(a, f32x4.mul(v128.load(w1 + c), v128.load(x1 + c)));
    b = f32x4.add(b, f32x4.mul(v128.load(w1 + c, 16), v128.load(x1 + c, 16)));
    a = f32x4.add(a, f32x4.mul(v128.load(w2 + c), v128.load(x2 + c)));
    b = f32x4.add(b, f32x4.mul(v128.load(w2 + c, 16), v128.load(x2 + c, 16)));
    a = f32x4.add(a, f32x4.mul(v128.load(w3 + c), v128.load(x3 + c)));
    b = f32x4.add(b, f32x4.mul(v128.load(w3 + c, 16), v128.load(x3 + c, 16)));
    v128.store(out + c, a);
    v128.store(out + c, b, 16);
  }
  if (c < rowBytes) anyTaps(window + c, rowBytes, taps + c, start + c, out + c, 4, rowBytes - c);
}

function anyTaps(window: usize, rowBytes: usize, taps: usize, start: usize, out: usize, K: i32, bytes: usize = rowBytes): void {
  for (let c: usize = 0; c < bytes; c += 16) {
    let sum = v128.load(start + c);
    for (let k = 0; k < K; k++) {
      const at = <usize>k * rowBytes + c;
      sum = f32x4.add(sum, f32x4.mul(v128.load(taps + at), v128.load(window + at)));
    }
    v128.store(out + c, sum);
  }
}

function siluRow(x: usize, bytes: usize): void {
  let c: usize = 0;
  for (; c + 32 <= bytes; c += 32) {
    const a = silu4(v128.load(x + c));
    const b = silu4(v128.load(x + c, 16));
    v128.store(x + c, a);
    v128.store(x + c, b, 16);
  }
  for (; c < bytes; c += 16) v128.store(x + c, silu4(v128.load(x + c)));
}

/** One token: reads and shifts the state in place. */
export function convStep(
  x: usize, weight: usize, bias: usize, state: usize, out: usize, channels: i32, K: i32, W: i32, silu: bool,
): void {
  const first = W - (K - 1);
  const end: usize = <usize>channels << 2;
  for (let c: usize = 0; c < end; c += 4) {
    let sum: f32 = bias ? load<f32>(bias + c) : 0;
    for (let k = 0; k < K - 1; k++) sum += load<f32>(weight + (<usize>k << 2)) * load<f32>(state + (<usize>(first + k) << 2));
    const input = load<f32>(x + c);
    store<f32>(out + c, sum + load<f32>(weight + (<usize>(K - 1) << 2)) * input);
    for (let w = 1; w < W; w++) store<f32>(state + (<usize>(w - 1) << 2), load<f32>(state + (<usize>w << 2)));
    if (W > 0) store<f32>(state + (<usize>(W - 1) << 2), input);
    state += <usize>W << 2;
    weight += <usize>K << 2;
  }
  if (silu) siluRow(out, end);
}
