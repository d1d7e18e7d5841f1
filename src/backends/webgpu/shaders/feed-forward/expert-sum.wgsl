// out = Σ_e routing[t, e] * y[the visit of t to e], over the experts with a weight, in order.
//
// y (visits, C), routing (T, E), table: see expert-table.ts → out (T, C). Grid: (C / 64, T).

struct Params {
  T: u32,
  C: u32,
  E: u32,
  visits0: u32,
  yOffset: u32,
  yStride: u32,
  routingOffset: u32,
  routingStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> routing: array<f32>;
@group(0) @binding(3) var<storage, read> table: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

#include "element"

fn element(t: u32, c: u32) {
  var sum = 0.0;
  for (var e = 0u; e < params.E; e++) {
    let weight = routing[params.routingOffset + t * params.routingStride + e];
    if (weight == 0.0) { continue; }
    sum += weight * y[params.yOffset + table[params.visits0 + t * params.E + e] * params.yStride + c];
  }
  out[params.outOffset + t * params.outStride + c] = sum;
}
