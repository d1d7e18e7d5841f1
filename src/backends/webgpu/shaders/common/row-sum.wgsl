// The sum of what the $THREADS invocations of a workgroup hold, for all of them.
var<workgroup> partial: array<f32, $THREADS>;

fn sumOfWorkgroup(value: f32, i: u32) -> f32 {
  partial[i] = value;
  workgroupBarrier();
  for (var width = u32($THREADS) / 2; width > 0; width /= 2) {
    if (i < width) { partial[i] += partial[i + width]; }
    workgroupBarrier();
  }
  return partial[0];
}
