// A byte of the words from `begin` on.
fn byteAt(begin: u32, index: u32) -> u32 { return (wordAt(begin + index / 4) >> (8 * (index % 4))) & 255; }
