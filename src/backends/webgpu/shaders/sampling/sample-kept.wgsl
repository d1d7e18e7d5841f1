// What top-k and top-p keep of a row: see sample-tokens.wgsl.
struct Scale {
  most: f32,
  inverse: f32,   // 1 / temperature
  factor: f32,
}

fn quantum(score: f32, scale: Scale) -> u32 {
  // Below 2³⁰, which would be a digit more.
  return min(u32(exp((score - scale.most) * scale.inverse) * scale.factor + 0.5), 0x3fffffffu);
}

/// The sum of the values of this invocation and those before it.
fn sumUpTo(i: u32, value: u32) -> u32 {
  workgroupBarrier();
  sums[i] = value;
  workgroupBarrier();
  for (var width = 1u; width < THREADS; width *= 2) {
    var before = 0u;
    if (i >= width) { before = sums[i - width]; }
    workgroupBarrier();
    sums[i] += before;
    workgroupBarrier();
  }
  return sums[i];
}

/// How many tokens have a digit, or with topP their mass.
fn weightOf(digit: u32, topP: f32) -> u32 {
  if (topP > 0) { return atomicLoad(&masses[digit]); }
  return atomicLoad(&counts[digit]);
}

/// The largest q for which those from it on are enough: `count` of them or, with topP, that share of all from `least` on.
fn largestThatKeeps(i: u32, at: u32, scale: Scale, least: u32, count: u32, topP: f32) -> u32 {
  var prefix = 0u;
  var missing = count;
  for (var level = 0u; level < 3; level++) {
    let shift = 20 - 10 * level;
    workgroupBarrier();
    for (var b = i; b < BINS; b += THREADS) {
      atomicStore(&counts[b], 0);
      atomicStore(&masses[b], 0);
    }
    workgroupBarrier();
    // Most tokens are unlikely: each invocation adds up those of digit 0 by itself.
    var rareCount = 0u;
    var rareMass = 0u;
    for (var begin = 0u; begin < params.V; begin += SPAN) {
      var scores: array<f32, UNROLL>;
#for k 8
      scores[$k] = logits[at + min(begin + THREADS * $k + i, params.V - 1)];
#endfor
#for k 8
      {
        let q = quantum(scores[$k], scale);
        let digit = (q >> shift) & (BINS - 1);
        if (begin + THREADS * $k + i < params.V && q >= least && (q >> shift) >> 10 == prefix) {
          if (digit == 0) {
            rareCount += 1;
            rareMass += q;
          } else {
            atomicAdd(&counts[digit], 1);
            atomicAdd(&masses[digit], q);
          }
        }
      }
#endfor
    }
    atomicAdd(&counts[0], rareCount);
    atomicAdd(&masses[0], rareMass);
    workgroupBarrier();
    // Digits from the highest down: four to an invocation.
    var own = 0u;
    for (var d = 0u; d < 4; d++) { own += weightOf(BINS - 1 - (4 * i + d), topP); }
    let upTo = sumUpTo(i, own);
    let all = workgroupUniformLoad(&sums[THREADS - 1]);
    if (level == 0 && topP > 0) { missing = max(1, u32(ceil(topP * f32(all)))); }
    if (all < missing) { return least; }
    if (upTo >= missing && upTo - own < missing) {
      var above = upTo - own;
      for (var d = 0u; d < 4; d++) {
        let digit = BINS - 1 - (4 * i + d);
        let weight = weightOf(digit, topP);
        if (above + weight >= missing) {
          choice = vec2u(digit, missing - above);
          break;
        }
        above += weight;
      }
    }
    let chosen = workgroupUniformLoad(&choice);
    prefix = (prefix << 10) | chosen.x;
    missing = chosen.y;
  }
  return max(prefix, least);
}
