// Cosines and sines of the angles position * frequency, times scale: one invocation per angle.
//
// positions (T), frequencies (R / 2) → out (T, R): cosines, then sines. The device's own cos is only good near 0, so angles
// are brought into [-π/4, π/4] first, with π/2 in three parts (as in Cephes' sinf). Grid: (R / 128, T).

struct Params {
  T: u32,
  half: u32,        // R / 2
  scale: f32,
  frequenciesOffset: u32,
  frequenciesStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> positions: array<i32>;
@group(0) @binding(2) var<storage, read> frequencies: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

#include "grid"

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  let t = rowOf(id);
  if (i >= params.half || t >= params.T) { return; }
  let angle = f32(positions[t]) * frequencies[params.frequenciesOffset + i * params.frequenciesStride];
  let quarters = round(angle * 0.6366197723675814);
  let r = ((angle - quarters * 1.5703125) - quarters * 4.837512969970703125e-4) - quarters * 7.54978995489188216e-8;
  let z = r * r;
  let sine = r + r * z * (-1.6666654611e-1 + z * (8.3321608736e-3 - z * 1.9515295891e-4));
  let cosine = 1.0 - 0.5 * z + z * z * (4.166664568298827e-2 + z * (-1.388731625493765e-3 + z * 2.443315711809948e-5));
  // cos and sin after so many quarter turns.
  let turn = u32(i32(quarters)) & 3;
  let swapped = (turn & 1) == 1;
  let c = select(cosine, sine, swapped) * select(1.0, -1.0, turn == 1 || turn == 2);
  let s = select(sine, cosine, swapped) * select(1.0, -1.0, turn >= 2);
  let at = params.outOffset + t * params.outStride + i;
  out[at] = c * params.scale;
  out[at + params.half] = s * params.scale;
}
