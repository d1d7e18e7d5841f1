// A float16 as float32. Scales are often subnormal, which unpack2x16float may take for 0.
fn float16Of(bits: u32) -> f32 {
  let magnitude = bits & 0x7fff;
  let small = f32(magnitude) * select(0x1p-24, -0x1p-24, bits > 0x7fff);
  return select(unpack2x16float(bits).x, small, magnitude < 0x400);
}
// A float16 of those from word `begin` on.
fn float16At(begin: u32, index: u32) -> f32 {
  return float16Of((wordAt(begin + index / 2) >> (16 * (index % 2))) & 0xffff);
}
