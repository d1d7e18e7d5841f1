// States that are too large for one binding lie in several buffers. Each has a dispatch for its slots, which are slotCount
// from firstSlot on; the first dispatch also takes padded rows, whose slot is negative.
fn isElsewhere(slot: i32) -> bool {
  if (slot < 0) { return params.firstSlot != 0; }
  return slot < params.firstSlot || slot - params.firstSlot >= params.slotCount;
}

// The slot's place in this dispatch's buffer; of a padded row the first.
fn rowOfSlot(slot: i32) -> u32 { return u32(max(slot - params.firstSlot, 0)); }
