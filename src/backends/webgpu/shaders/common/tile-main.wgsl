// Where a workgroup of tile-product begins. The including shader's computeTile finds its tile and calls multiply.
@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) i: u32,
#if MATRIX
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
#endif
) {
#if MATRIX
  computeTile(group, i, subgroup, lane);
#else
  computeTile(group, i, 0, 0);
#endif
}
