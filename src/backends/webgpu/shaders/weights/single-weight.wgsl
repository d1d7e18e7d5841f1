// One weight of a row: of a matrix in blocks, or of one whose words are read one by one.
#if BLOCKS
const EIGHTS = $K / 8u;
const ROW_WORDS = ${ROW_WORDS}u;
#include "eights-$DTYPE"
fn weightAt(row: u32, k: u32) -> f32 {
  let packed = loadEight(row, k / 8);
  return select(firstFour(packed), lastFour(packed), k % 8 > 3)[k % 4];
}
#else
#include "weight-$DTYPE"
#endif
