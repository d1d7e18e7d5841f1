// Four numbers of E2M1, a byte each: a sign, and a magnitude of 0, 0.5, 1, 1.5, 2, 3, 4, 6.
fn e2m1(codes: u32) -> vec4f {
  let code = unpack4xU8(codes);
  let doubled = (vec4u(0xc8643210) >> (4 * (code & vec4u(7)))) & vec4u(15);
  return vec4f(doubled) * select(vec4f(0.5), vec4f(-0.5), code > vec4u(7));
}
