// What products with experts' matrices are bound to: see expert-vector.wgsl and expert-tile.wgsl.
struct Params {
  E: u32,
  visits: u32,      // places for them; the table says how many there are
  tiles0: u32,
  rows0: u32,
  experts0: u32,
  isRouted: u32,
  outputs: u32,     // of one expert
  K: u32,
  rowWords: u32,
  partBegin: u32,
  partRows: u32,
  xOffset: u32,
  xStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<u32>;
#if EVEN
@group(0) @binding(3) var<storage, read> weight: array<vec4u>;
#else
@group(0) @binding(3) var<storage, read> weight: array<u32>;
#endif
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

const K = ${K}u;
const EIGHTS = (K + 7) / 8;
const ROW_WORDS = ${ROW_WORDS}u;
