// Puts the token that was sampled last for a slot in place of -1. A sequence that ended with it gets the slot -1, for
// which nothing is computed. tokenIds (B), slots (B), sampled (slots) → outTokenIds (B), outSlots (B). Grid: (B / 64).

struct Params {
  B: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tokenIds: array<i32>;
@group(0) @binding(2) var<storage, read> slots: array<i32>;
@group(0) @binding(3) var<storage, read> sampled: array<f32>;
@group(0) @binding(4) var<storage, read_write> outTokenIds: array<i32>;
@group(0) @binding(5) var<storage, read_write> outSlots: array<i32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let b = id.x;
  if (b >= params.B) { return; }
  var token = tokenIds[b];
  var slot = slots[b];
  if (token < 0 && slot >= 0) {
    token = i32(sampled[slot]);
    if (token < 0) { slot = -1; }
  }
  outTokenIds[b] = max(token, 0);
  outSlots[b] = slot;
}
