// A row's sampling parameters and its edits of logits, as samplingInputs in contract/sampling.ts lays them out.
const THREADS = 256u;
/// Tokens that are summed up together.
const SPAN = 2048u;

const ROW_FIELDS = 17u;
const MAX_END_TOKENS = 7u;
const EDIT_FIELDS = 4u;
const IS_REPEATED = 1;
const IS_FORBIDDEN = 2;

/// What is forbidden, and less than every finite logit.
const LOWEST = -3.4028234e38;
const LARGEST = 3.4028234e38;

struct Row {
  temperature: f32,   // 0: the likeliest token
  topP: f32,
  minP: f32,
  u: f32,
  repetitionPenalty: f32,
  topK: u32,
  slot: u32,
  firstEdit: u32,
  numEdits: u32,
  firstWord: i32,     // of the allowed tokens' bits among the edits; -1: all are
}

fn rowAt(t: u32) -> Row {
  let at = ROW_FIELDS * t;
  return Row(
    bitcast<f32>(rows[at]), bitcast<f32>(rows[at + 1]), bitcast<f32>(rows[at + 2]), bitcast<f32>(rows[at + 3]),
    bitcast<f32>(rows[at + 4]), u32(rows[at + 5]), u32(rows[at + 6]), u32(rows[at + 7]), u32(rows[at + 8]),
    rows[at + 9],
  );
}

/// Whether a token ends the row's sequence.
fn isEnd(t: u32, token: i32) -> bool {
  for (var i = 0u; i < MAX_END_TOKENS; i++) {
    if (rows[ROW_FIELDS * (t + 1) - MAX_END_TOKENS + i] == token) { return true; }
  }
  return false;
}
