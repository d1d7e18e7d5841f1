// What the scan and the one-step update share: what they are bound to, and the parameters of one head and channel, from
// tensors that have a value per head or per channel (and, for A, per state): dimensions that they lack have stride 0.
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> xBC: array<f32>;
@group(0) @binding(2) var<storage, read> dt: array<f32>;
@group(0) @binding(3) var<storage, read> A: array<f32>;
@group(0) @binding(4) var<storage, read> D: array<f32>;
@group(0) @binding(5) var<storage, read> dtBias: array<f32>;
#if STATES == float32
@group(0) @binding(7) var<storage, read_write> states: array<f32>;
#else
@group(0) @binding(7) var<storage, read_write> states: array<u32>;
#endif
@group(0) @binding(8) var<storage, read_write> out: array<f32>;

#include "grid"
#include "activation"
#include "slots"
#if STATES == float32
#else
#include "short-states"
#endif

fn deltaOf(t: u32, h: u32, p: u32) -> f32 {
  var raw = dt[params.dtOffset + t * params.dtStride + h * params.dtHead + p * params.dtChannel];
  if (params.hasBias == 1) { raw += dtBias[params.biasOffset + h * params.biasHead + p * params.biasChannel]; }
  if (params.softplus == 1) { raw = softplus(raw); }
  return min(params.dtHigh, max(params.dtLow, raw));
}

// exp(A Δ). A is negative; rounding elsewhere must not turn a decay into growth.
fn decayOf(h: u32, p: u32, n: u32, delta: f32) -> f32 {
  return exp(min(0.0, A[params.aOffset + h * params.aHead + p * params.aChannel + n * params.aState] * delta));
}

fn skipOf(h: u32, p: u32) -> f32 {
  if (params.hasD == 0) { return 0.0; }
  return D[params.dOffset + h * params.dHead + p * params.dChannel];
}
