// One step of the causal convolution for many sequences: one invocation per $ROWS sequences and four channels.
//
// x (T, C), convWeight (C, 4), convBias (C), slots (T), convStates (S, C, 3) in place → convolved (T, C).
// Grid: (C / 4 / 64, T / ROWS).

struct Params {
  T: u32,
}
struct Fixed {
#include "convolution-places"
  xOffset: u32,
  xStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
const fixed = Fixed();
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> convWeight: array<vec4f>;
@group(0) @binding(3) var<storage, read> convBias: array<f32>;
@group(0) @binding(4) var<storage, read> slots: array<i32>;
@group(0) @binding(5) var<storage, read_write> convStates: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> convolved: array<vec4f>;

#include "grid"
#include "convolve-fours"

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let c = 4 * id.x;
  if (c >= fixed.C) { return; }
  let taps = tapsOf(c);
#for r ROWS
  let row${r} = rowOf(id) * $ROWS + ${r};
  var inputs${r}: vec4f;
  var past${r}: Past;
  if (row${r} < params.T) {
    inputs${r} = x[(fixed.xOffset + row${r} * fixed.xStride + c) / 4];
    past${r} = pastOf(row${r}, c);
  }
#endfor
#for r ROWS
  if (row${r} < params.T) { convolve(taps, row${r}, c, inputs${r}, past${r}); }
#endfor
}
