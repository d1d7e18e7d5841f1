// Rotates the first R columns of every head, pairing column i with i + R / 2; the others pass: one invocation per column.
//
// x (T, heads * headDim), angles (T, R) of rotary-table → out (T, heads * headDim). Grid: (C / 64, T).

struct Params {
  T: u32,
  C: u32,
  headDim: u32,
  half: u32,        // R / 2
  xOffset: u32,
  xStride: u32,
  anglesOffset: u32,
  anglesStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> angles: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

#include "element"

fn element(t: u32, c: u32) {
  let i = c % params.headDim;
  let row = params.xOffset + t * params.xStride;
  var value = x[row + c];
  if (i < 2 * params.half) {
    let first = i < params.half;
    let pair = select(i - params.half, i, first);
    let angle = params.anglesOffset + t * params.anglesStride + pair;
    let other = x[row + select(c - params.half, c + params.half, first)];
    value = value * angles[angle] + select(other, -other, first) * angles[angle + params.half];
  }
  out[params.outOffset + t * params.outStride + c] = value;
}
