// Four numbers of E4M3, a byte each: a sign, an exponent of 4 bits with a bias of 7, and a fraction of 3.
fn e4m3(codes: u32) -> vec4f {
  let code = unpack4xU8(codes);
  let magnitude = code & vec4u(127);
  let normal = bitcast<vec4f>((magnitude << vec4u(20)) + vec4u(0x3c000000));
  let value = select(normal, vec4f(magnitude) * 0x1p-9, magnitude < vec4u(8));
  return select(value, -value, code > vec4u(127));
}
