// What is done with four neighbouring sums of a row: bias, residual or convolution, and where they are written.
//
// Values for that are read in advance, for several results together, so that the loads overlap with each other or with sums.
#if CONV
#include "convolve-fours"

alias Before = Past;
fn before(row: u32, column: u32) -> Before {
  let c = fixed.firstOutput + column - fixed.convBegin;
  if (row >= params.T || column >= OUTPUTS || c >= fixed.C) { return Before(); }
  return pastOf(row, c);
}
#else
#if RESIDUAL
alias Before = vec4f;
fn before(row: u32, column: u32) -> Before {
  if (row >= params.T || column >= OUTPUTS) { return Before(); }
  return residual[(fixed.residualOffset + row * fixed.residualStride + fixed.firstOutput + column) / 4];
}
#else
alias Before = f32;
fn before(row: u32, column: u32) -> Before { return 0; }
#endif
#endif

fn put(slice: u32, row: u32, column: u32, sums: vec4f, before: Before) {
  if (row >= params.T || column >= OUTPUTS) { return; }
  var y = sums;
  let c = fixed.firstOutput + column;
#if BIAS
  let b = fixed.biasOffset + c;
  y += vec4f(bias[b], bias[b + 1], bias[b + 2], bias[b + 3]);
#endif
#if RESIDUAL
  y += before;
#endif
#if CONV
  if (c >= fixed.convBegin && c < fixed.convBegin + fixed.C) {
    convolve(tapsOf(c - fixed.convBegin), row, c - fixed.convBegin, y, before);
    return;
  }
#endif
  out[(fixed.outOffset + (row * ${SLICES}u + slice) * fixed.outStride + c) / 4] = y;
}
