// A causal convolution (4 taps) of four neighbouring channels' newest inputs with the three before them, which lie in the
// slot's state and move on by one. A row whose slot is negative passes through. See convolve.wgsl for one channel.

// Four of the last inputs' three: 12 numbers in a row of the state.
alias Past = array<vec4f, 3>;
fn pastOf(row: u32, c: u32) -> Past {
  let at = pastAt(slots[row], c);
  return Past(convStates[at], convStates[at + 1], convStates[at + 2]);
}
fn pastAt(slot: i32, c: u32) -> u32 { return (fixed.statesOffset + u32(max(slot, 0)) * fixed.statesStride + 3 * c) / 4; }

// What the four channels are convolved with.
struct Taps {
  weights: array<vec4f, 4>,
  bias: vec4f,
}
fn tapsOf(c: u32) -> Taps {
  let w = fixed.convWeightOffset / 4 + c;
  let b = fixed.convBiasOffset + c;
  return Taps(
    array<vec4f, 4>(convWeight[w], convWeight[w + 1], convWeight[w + 2], convWeight[w + 3]),
    vec4f(convBias[b], convBias[b + 1], convBias[b + 2], convBias[b + 3]));
}

fn convolve(taps: Taps, row: u32, c: u32, inputs: vec4f, before: Past) {
  var y = inputs;
  let slot = slots[row];
  if (slot >= 0) {
    let past = array<vec3f, 4>(
      before[0].xyz, vec3f(before[0].w, before[1].xy), vec3f(before[1].zw, before[2].x), before[2].yzw);
    let at = pastAt(slot, c);
    convStates[at] = vec4f(past[0].yz, inputs.x, past[1].y);
    convStates[at + 1] = vec4f(past[1].z, inputs.y, past[2].yz);
    convStates[at + 2] = vec4f(inputs.z, past[3].yz, inputs.w);
    y = taps.bias + vec4f(
      dot(taps.weights[0], vec4f(past[0], inputs.x)),
      dot(taps.weights[1], vec4f(past[1], inputs.y)),
      dot(taps.weights[2], vec4f(past[2], inputs.z)),
      dot(taps.weights[3], vec4f(past[3], inputs.w)));
#if SILU
    y /= 1 + exp(-y);
#endif
  }
  convolved[(fixed.convolvedOffset + row * fixed.convolvedStride + c) / 4] = y;
}
