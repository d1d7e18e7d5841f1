// Eight codes of 4 bits from word `begin` on: of 32 inputs in four words, the lower halves of bytes are the first 16.
fn nibblesAt(begin: u32, eight: u32) -> vec2u {
  return (pairAt(begin + eight / 4 * 4 + eight % 2 * 2) >> vec2u(eight / 2 % 2 * 4)) & vec2u(0x0f0f0f0f);
}
