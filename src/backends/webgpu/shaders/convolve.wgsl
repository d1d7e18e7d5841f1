// What follows the in-projection when decoding: a causal convolution of the row's newest input of channel c with the three
// before it, which lie in the slot's state. The state moves on by one; a row whose slot is negative passes through.
fn convolve(row: u32, c: u32, input: f32) {
  var y = input;
  let slot = slots[row];
  if (slot >= 0) {
    let at = params.statesOffset + u32(slot) * params.statesStride + 3 * c;
    let past = vec3f(convStates[at], convStates[at + 1], convStates[at + 2]);
    convStates[at] = past.y;
    convStates[at + 1] = past.z;
    convStates[at + 2] = input;
    y = convBias[params.convBiasOffset + c] + dot(convWeight[params.convWeightOffset / 4 + c], vec4f(past, input));
    if (params.silu == 1) { y /= 1 + exp(-y); }
  }
  convolved[params.convolvedOffset + row * params.convolvedStride + c] = y;
}
