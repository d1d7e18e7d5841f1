// Reads the first $PREFETCHED vectors of what the next dispatch will read, so that they lie in the device's cache by then:
// for kernels that leave memory idle. A workgroup of THREADS reads eight vectors per invocation.
@group(0) @binding(20) var<storage, read> ahead: array<vec4u>;
@group(0) @binding(21) var<storage, read_write> sink: array<vec4u>;

fn prefetch(workgroup: u32, i: u32) {
  var seen = vec4u();
  for (var j = 0u; j < 8; j++) { seen ^= ahead[min((workgroup * 8 + j) * THREADS + i, ${PREFETCHED}u - 1)]; }
  // A compiler leaves out loads whose values are not used. What is written here is never read.
  if (all(seen == vec4u(0x9e3779b9))) { sink[0] = seen; }
}
