// What a block of Q4_K or Q5_K begins with: float16 factors d and dmin, then 8 scales and 8 minimums of 6 bits, those of the
// last four parts with their upper 2 bits in the bytes of the first four. Blocks are whole vectors of words.
struct PartScales {
  scale: f32,
  minimum: f32,
}
fn partScales(header: vec4u, part: u32) -> PartScales {
  let bytes = header.yzw >> vec3u(8 * (part % 4));
  let late = ((bytes.zz >> vec2u(0, 4)) & vec2u(15)) | ((bytes.xy >> vec2u(2)) & vec2u(48));
  let six = vec2f(select(bytes.xy & vec2u(63), late, part > 3));
  return PartScales(float16Of(header.x & 0xffff) * six.x, float16Of(header.x >> 16) * six.y);
}
