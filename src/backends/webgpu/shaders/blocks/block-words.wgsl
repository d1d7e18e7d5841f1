// Eight neighbouring weights of a row in blocks (see pack-blocks.ts), for kernels that declare `weight` as vectors of words.
// A format's text says where they lie (loadEight) and what four of them are worth (widen).

// Codes of eight weights, a byte each, and the numbers that they are multiplied with or moved by.
struct Packed {
  codes: vec2u,
  scale: f32,
  other: f32,
}
fn firstFour(packed: Packed) -> vec4f { return widen(packed.codes.x, packed.scale, packed.other); }
fn lastFour(packed: Packed) -> vec4f { return widen(packed.codes.y, packed.scale, packed.other); }

fn wordAt(at: u32) -> u32 { return weight[at / 4][at % 4]; }
fn pairAt(at: u32) -> vec2u { return vec2u(wordAt(at), wordAt(at + 1)); }
fn floatAt(at: u32) -> f32 { return bitcast<f32>(wordAt(at)); }
