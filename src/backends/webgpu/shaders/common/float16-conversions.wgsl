// The device's own conversions: halves of float16, two in a word, to float32, and float32 to float16. WGSL leaves open how
// they round, and what becomes of subnormal numbers, infinities and NaN.
//
// halves → widened (two for each); values → narrowed (one word for two). All numbers are given and taken as their bits.
// Grid: (words of both together / 64).

@group(0) @binding(0) var<storage, read> halves: array<u32>;
@group(0) @binding(1) var<storage, read> values: array<u32>;
@group(0) @binding(2) var<storage, read_write> results: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  let words = arrayLength(&halves);
  if (i < words) {
    let pair = bitcast<vec2u>(unpack2x16float(halves[i]));
    results[2 * i] = pair.x;
    results[2 * i + 1] = pair.y;
  } else if (i - words < arrayLength(&values) / 2) {
    let pair = vec2u(values[2 * (i - words)], values[2 * (i - words) + 1]);
    results[words + i] = pack2x16float(bitcast<vec2f>(pair));
  }
}
