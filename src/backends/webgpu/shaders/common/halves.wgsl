// float16 ends at 65504.
fn halvesOf(values: vec4f) -> vec2u {
  let within = clamp(values, vec4f(-65504), vec4f(65504));
  return vec2u(pack2x16float(within.xy), pack2x16float(within.zw));
}
