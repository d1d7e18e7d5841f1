// Experts' matrices, one below the other, of which this buffer holds `partRows` rows from `partBegin` on; and the rows that
// they are multiplied with. Where K is no multiple of 8, both are read one by one.
fn isHere(row: u32) -> bool { return row >= params.partBegin && row - params.partBegin < params.partRows; }

#if EVEN
#include "eights-$DTYPE"
fn weightFour(row: u32, k: u32) -> vec4f {
  let packed = loadEight(row - params.partBegin, k / 8);
  return select(firstFour(packed), lastFour(packed), k % 8 == 4);
}
fn inputFour(at: u32, k: u32) -> vec4f { return vec4f(x[at + k], x[at + k + 1], x[at + k + 2], x[at + k + 3]); }
#else
#include "weight-$DTYPE"
fn weightFour(row: u32, k: u32) -> vec4f {
  var four = vec4f();
  for (var j = 0u; j < 4 && k + j < K; j++) { four[j] = weightAt(row - params.partBegin, k + j); }
  return four;
}
fn inputFour(at: u32, k: u32) -> vec4f {
  var four = vec4f();
  for (var j = 0u; j < 4 && k + j < K; j++) { four[j] = x[at + k + j]; }
  return four;
}
#endif
