// What the convolution of packed sequences and that of their next tokens share. Slots: see slots.wgsl.
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

#include "element"
#include "activation"
#include "slots"

fn biasOf(c: u32) -> f32 {
  if (params.hasBias == 0) { return 0.0; }
  return bias[params.biasOffset + c * params.biasStride];
}

fn activated(sum: f32) -> f32 { return select(sum, silu(sum), params.silu == 1); }
