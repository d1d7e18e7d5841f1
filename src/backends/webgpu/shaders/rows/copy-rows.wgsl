// out (T, C) = x (T, C), or with GATHER the rows of x that `rows` (T) names. As bits, so that no value changes.
// Grid: (C / 64, T).

struct Params {
  T: u32,
  C: u32,
  xOffset: u32,
  xStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
#if GATHER
@group(0) @binding(3) var<storage, read> rows: array<i32>;
#endif

#include "element"

fn element(t: u32, c: u32) {
#if GATHER
  let source = u32(rows[t]);
#else
  let source = t;
#endif
  out[params.outOffset + t * params.outStride + c] = x[params.xOffset + source * params.xStride + c];
}
