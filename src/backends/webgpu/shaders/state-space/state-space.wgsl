// What the scan and the one-step update share: parameters of one head and channel, from tensors that have a value per head
// or per channel (and, for A, per state): dimensions that they lack have stride 0.

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
