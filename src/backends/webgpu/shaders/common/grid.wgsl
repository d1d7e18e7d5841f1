// Rows of a grid: y counts 65535 at most, the rest is in z. See rowGrid in lowering.ts.
fn rowOf(id: vec3u) -> u32 {
  return id.y + id.z * 65535u;
}
