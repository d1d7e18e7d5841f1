// What follows the in-projection when decoding: a causal convolution of the row's newest input of channel c with the three
// before it, which lie in the slot's state. The state moves on by one; a row whose slot is negative passes through.
struct Before {
  slot: i32,
  past: vec3f,
  weight: vec4f,
  bias: f32,
}

// What it reads, which may be asked for long before.
fn beforeConvolution(row: u32, c: u32) -> Before {
  let slot = slots[row];
  let at = fixed.statesOffset + u32(max(slot, 0)) * fixed.statesStride + 3 * c;
  return Before(
    slot,
    vec3f(convStates[at], convStates[at + 1], convStates[at + 2]),
    convWeight[fixed.convWeightOffset / 4 + c],
    convBias[fixed.convBiasOffset + c]);
}

fn convolve(row: u32, c: u32, input: f32, before: Before) {
  var y = input;
  if (before.slot >= 0) {
    let at = fixed.statesOffset + u32(before.slot) * fixed.statesStride + 3 * c;
    convStates[at] = before.past.y;
    convStates[at + 1] = before.past.z;
    convStates[at + 2] = input;
    y = before.bias + dot(before.weight, vec4f(before.past, input));
#if SILU
    y /= 1 + exp(-y);
#endif
  }
  convolved[fixed.convolvedOffset + row * fixed.convolvedStride + c] = y;
}
