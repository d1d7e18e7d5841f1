// One invocation for each of C columns of T rows, which computes it with `element(t, c)` of the including shader.
#include "grid"

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let c = id.x;
  let t = rowOf(id);
  if (c >= params.C || t >= params.T) { return; }
  element(t, c);
}
