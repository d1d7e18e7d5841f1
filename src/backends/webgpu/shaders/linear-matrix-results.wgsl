// What becomes of four neighbouring sums of a row: bias, residual or convolution, and where they go.
//
// What is read for it is read before, for several results at once, so that they wait together or while sums are made.
#if CONV
// Four of the last inputs' three, of four neighbouring channels: 12 numbers in a row of the state.
alias Before = array<vec4f, 3>;
fn before(row: u32, column: u32) -> Before {
  let c = params.firstOutput + column - params.convBegin;
  if (row >= params.T || column >= OUTPUTS || c >= params.C) { return Before(); }
  let at = pastOf(slots[row], c);
  return Before(convStates[at], convStates[at + 1], convStates[at + 2]);
}
fn pastOf(slot: i32, c: u32) -> u32 { return (params.statesOffset + u32(max(slot, 0)) * params.statesStride + 3 * c) / 4; }

// A causal convolution of the newest inputs with the three before them: see convolve.wgsl.
fn convolve(row: u32, c: u32, inputs: vec4f, before: Before) {
  var y = inputs;
  let slot = slots[row];
  if (slot >= 0) {
    let past = array<vec3f, 4>(
      before[0].xyz, vec3f(before[0].w, before[1].xy), vec3f(before[1].zw, before[2].x), before[2].yzw);
    let at = pastOf(slot, c);
    convStates[at] = vec4f(past[0].yz, inputs.x, past[1].y);
    convStates[at + 1] = vec4f(past[1].z, inputs.y, past[2].yz);
    convStates[at + 2] = vec4f(inputs.z, past[3].yz, inputs.w);
    let bias = params.convBiasOffset + c;
    let weights = params.convWeightOffset / 4 + c;
    y = vec4f(
      convBias[bias] + dot(convWeight[weights], vec4f(past[0], inputs.x)),
      convBias[bias + 1] + dot(convWeight[weights + 1], vec4f(past[1], inputs.y)),
      convBias[bias + 2] + dot(convWeight[weights + 2], vec4f(past[2], inputs.z)),
      convBias[bias + 3] + dot(convWeight[weights + 3], vec4f(past[3], inputs.w)));
    if (params.silu == 1) { y /= 1 + exp(-y); }
  }
  convolved[(params.convolvedOffset + row * params.convolvedStride + c) / 4] = y;
}
#else
#if RESIDUAL
alias Before = vec4f;
fn before(row: u32, column: u32) -> Before {
  if (row >= params.T || column >= OUTPUTS) { return Before(); }
  return residual[(params.residualOffset + row * params.residualStride + params.firstOutput + column) / 4];
}
#else
alias Before = f32;
fn before(row: u32, column: u32) -> Before { return 0; }
#endif
#endif

fn put(slice: u32, row: u32, column: u32, sums: vec4f, before: Before) {
  if (row >= params.T || column >= OUTPUTS) { return; }
  var y = sums;
  let c = params.firstOutput + column;
#if BIAS
  let b = params.biasOffset + c;
  y += vec4f(bias[b], bias[b + 1], bias[b + 2], bias[b + 3]);
#endif
#if RESIDUAL
  y += before;
#endif
#if CONV
  if (c >= params.convBegin && c < params.convBegin + params.C) {
    convolve(row, c - params.convBegin, y, before);
    return;
  }
#endif
  out[(params.outOffset + (row * ${SLICES}u + slice) * params.outStride + c) / 4] = y;
}
