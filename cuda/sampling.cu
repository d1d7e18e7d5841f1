// Choice of tokens from logits, by rows of instructions as samplingInputs in src/backends/contract/sampling.ts lays them out.
#include "common.cuh"

#define THREADS 256
// Tokens that a block of sample_spans sums up.
#define SPAN 2048
#define SPAN_FIELDS 8
#define ROW_FIELDS 17
#define MAX_END_TOKENS 7
#define EDIT_FIELDS 4
#define IS_REPEATED 1
#define IS_FORBIDDEN 2
// What is forbidden, and less than every finite logit.
#define LOWEST (-3.4028234e38f)
#define LARGEST 3.4028234e38f

struct SamplingParams {
  Rows logits;
  Rows sampled;
  Rows out;
  const int* rows;
  const int* edits;
  float* originals;
  float* spans;
  int V;
  int numSpans;
};

struct SampledRow {
  float temperature;
  float topP;
  float minP;
  float u;
  float repetitionPenalty;
  int topK;
  int slot;
  int firstEdit;
  int numEdits;
  int firstWord;  // of the allowed tokens' bits among the edits; -1: all are
};

static __device__ __forceinline__ SampledRow row_at(const int* rows, int t) {
  const int* at = rows + ROW_FIELDS * t;
  SampledRow row = {__int_as_float(at[0]), __int_as_float(at[1]), __int_as_float(at[2]), __int_as_float(at[3]),
                    __int_as_float(at[4]), at[5], at[6], at[7], at[8], at[9]};
  return row;
}

// Whether a token ends the row's sequence.
static __device__ __forceinline__ bool is_end(const int* rows, int t, int token) {
  for (int i = 1; i <= MAX_END_TOKENS; i++) {
    if (rows[ROW_FIELDS * (t + 1) - i] == token) return true;
  }
  return false;
}

static __device__ __forceinline__ float edited(float logit, float bias, int flags, float penalty, float repetitionPenalty) {
  if (flags & IS_FORBIDDEN) return LOWEST;
  float score = logit + bias;
  if (flags & IS_REPEATED) {
    score = score > 0 ? score / repetitionPenalty : score * repetitionPenalty;
    score = fminf(LARGEST, fmaxf(LOWEST, score));
  }
  return score - penalty;
}

// The highest score of a block and its lowest index, for all threads.
static __device__ __forceinline__ void block_likeliest(float& most, int& best, float* mosts, int* bests) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) {
    const float other = __shfl_xor_sync(ALL_LANES, most, offset);
    const int index = __shfl_xor_sync(ALL_LANES, best, offset);
    if (other > most || (other == most && index < best)) most = other, best = index;
  }
  __syncthreads();
  if (threadIdx.x % 32 == 0) mosts[threadIdx.x / 32] = most, bests[threadIdx.x / 32] = best;
  __syncthreads();
  most = mosts[0], best = bests[0];
  for (int w = 1; w < THREADS / 32; w++) {
    if (mosts[w] > most || (mosts[w] == most && bests[w] < best)) most = mosts[w], best = bests[w];
  }
}

// Edits logits, forbids tokens, and sums up each span of 2048 tokens:
//
//   logits = edited(logits)                                     in place; what they were goes to originals
//   spans = (max, Σ exp(l - max)) of the logits l as they were
//            (max, its token, Σ exp((s - max) / temperature)) of the edited ones s
//            1 if a logit is NaN or +infinity
//
// logits (B, V), rows (B, 17), edits (edits, 4), originals (edits), spans (B, numSpans, 8). Grid: (numSpans, B), blocks of 256.
extern "C" __global__ void __launch_bounds__(THREADS) sample_spans(const SamplingParams p) {
  __shared__ float scores[SPAN];
  __shared__ float sums[THREADS / 32];
  __shared__ float mosts[THREADS / 32];
  __shared__ int bests[THREADS / 32];
  const int t = blockIdx.y;
  const int i = threadIdx.x;
  const SampledRow row = row_at(p.rows, t);
  float* logits = p.logits.at + (long long)t * p.logits.stride;
  const int begin = blockIdx.x * SPAN;
  const int count = p.V - begin < SPAN ? p.V - begin : SPAN;

  float mostBefore = LOWEST, isBad = 0;
  for (int c = i; c < count; c += THREADS) {
    const float logit = logits[begin + c];
    const bool isLow = logit == -INFINITY;
    if (!isLow && !(fabsf(logit) <= LARGEST)) isBad = 1;
    scores[c] = isLow ? LOWEST : logit;
    mostBefore = fmaxf(mostBefore, scores[c]);
  }
  int unused = i;
  block_likeliest(mostBefore, unused, mosts, bests);
  float sumBefore = 0;
  for (int c = i; c < count; c += THREADS) sumBefore += expf(scores[c] - mostBefore);
  __syncthreads();

  for (int e = row.firstEdit + i; e < row.firstEdit + row.numEdits; e += THREADS) {
    const int* edit = p.edits + EDIT_FIELDS * e;
    const int token = edit[0];
    if (token < begin || token >= begin + count) continue;
    const float logit = scores[token - begin];
    const float score = edited(logit, __int_as_float(edit[2]), edit[1], __int_as_float(edit[3]), row.repetitionPenalty);
    p.originals[e] = logit;
    scores[token - begin] = score;
    logits[token] = score;
  }
  __syncthreads();
  if (row.firstWord >= 0) {
    for (int c = i; c < count; c += THREADS) {
      const int token = begin + c;
      if ((p.edits[row.firstWord + (token >> 5)] >> (token & 31)) & 1) continue;
      scores[c] = LOWEST;
      logits[token] = LOWEST;
    }
    __syncthreads();
  }

  float most = LOWEST;
  int best = begin;
  for (int c = i; c < count; c += THREADS) {
    if (scores[c] > most) most = scores[c], best = begin + c;
  }
  block_likeliest(most, best, mosts, bests);
  float sumAfter = 0;
  const float inverse = 1.0f / fmaxf(row.temperature, 1e-6f);
  for (int c = i; c < count; c += THREADS) sumAfter += expf((scores[c] - most) * inverse);
  sumBefore = block_sum(sumBefore, sums);
  sumAfter = block_sum(sumAfter, sums);
  isBad = block_sum(isBad, sums);
  if (i != 0) return;
  float* span = p.spans + SPAN_FIELDS * ((long long)t * p.numSpans + blockIdx.x);
  span[0] = mostBefore;
  span[1] = sumBefore;
  span[2] = most;
  span[3] = (float)best;
  span[4] = sumAfter;
  span[5] = isBad;
}

#define ONE 1073741824.0f
#define BINS 1024

struct Scale {
  float most;
  float inverse;  // 1 / temperature
  float factor;
};

static __device__ __forceinline__ u32 quantum(float score, const Scale& scale) {
  // Below 2³⁰, which would be a digit more.
  const u32 q = (u32)(expf((score - scale.most) * scale.inverse) * scale.factor + 0.5f);
  return q < 0x3fffffffu ? q : 0x3fffffffu;
}

static __device__ __forceinline__ u32 kept(u32 q, u32 least) { return q >= least ? q : 0; }

// The sum of the values of this thread and those before it; sums[THREADS - 1] is that of all.
static __device__ u32 sum_up_to(u32 value, u32* sums) {
  const int i = threadIdx.x;
  __syncthreads();
  sums[i] = value;
  __syncthreads();
  for (int width = 1; width < THREADS; width *= 2) {
    const u32 before = i >= width ? sums[i - width] : 0;
    __syncthreads();
    sums[i] += before;
    __syncthreads();
  }
  return sums[i];
}

struct Shared {
  u32 sums[THREADS];
  u32 counts[BINS];
  u32 masses[BINS];
  u32 choice[2];
};

// The largest q for which those from it on are enough: `count` of them or, with topP, that share of all from `least` on.
static __device__ u32 largest_that_keeps(
    Shared& shared, const float* logits, int V, const Scale& scale, u32 least, u32 count, float topP) {
  const int i = threadIdx.x;
  const u32* weights = topP > 0 ? shared.masses : shared.counts;
  u32 prefix = 0, missing = count;
  for (int level = 0; level < 3; level++) {
    const int shift = 20 - 10 * level;
    __syncthreads();
    for (int b = i; b < BINS; b += THREADS) shared.counts[b] = 0, shared.masses[b] = 0;
    __syncthreads();
    // Most tokens are unlikely: each thread adds up those of digit 0 by itself.
    u32 rareCount = 0, rareMass = 0;
    for (int c = i; c < V; c += THREADS) {
      const u32 q = quantum(logits[c], scale);
      const u32 digit = (q >> shift) & (BINS - 1);
      if (q < least || (q >> shift) >> 10 != prefix) continue;
      if (digit == 0) {
        rareCount += 1;
        rareMass += q;
      } else {
        atomicAdd(&shared.counts[digit], 1u);
        atomicAdd(&shared.masses[digit], q);
      }
    }
    atomicAdd(&shared.counts[0], rareCount);
    atomicAdd(&shared.masses[0], rareMass);
    __syncthreads();
    // Digits from the highest down: four to a thread.
    u32 own = 0;
    for (int d = 0; d < 4; d++) own += weights[BINS - 1 - (4 * i + d)];
    const u32 upTo = sum_up_to(own, shared.sums);
    const u32 all = shared.sums[THREADS - 1];
    if (level == 0 && topP > 0) {
      missing = (u32)ceilf(topP * (float)all);
      if (missing < 1) missing = 1;
    }
    if (all < missing) return least;
    if (upTo >= missing && upTo - own < missing) {
      u32 above = upTo - own;
      for (int d = 0; d < 4; d++) {
        const u32 digit = BINS - 1 - (4 * i + d);
        if (above + weights[digit] >= missing) {
          shared.choice[0] = digit;
          shared.choice[1] = missing - above;
          break;
        }
        above += weights[digit];
      }
    }
    __syncthreads();
    prefix = (prefix << 10) | shared.choice[0];
    missing = shared.choice[1];
  }
  return prefix > least ? prefix : least;
}

// The token where the running sum of kept q exceeds u times their sum: first its span, then its place in there.
static __device__ int draw(
    Shared& shared, const float* logits, const float* spans, int V, int numSpans, const SampledRow& row, const Scale& scale) {
  const int i = threadIdx.x;
  const bool isFiltered = row.topK > 0 || row.topP < 1 || row.minP > 0;
  u32 least = 1;
  if (isFiltered) {
    least = (u32)ceilf(row.minP * scale.factor);
    if (least < 1) least = 1;
    if (row.topK > 0) least = largest_that_keeps(shared, logits, V, scale, least, (u32)row.topK, 0);
    if (row.topP < 1) least = largest_that_keeps(shared, logits, V, scale, least, 0, row.topP);
  }

  // The sum of each span, then of each thread's spans.
  __syncthreads();
  for (int c = i; c < BINS; c += THREADS) {
    u32 mass = 0;
    if (c < numSpans && !isFiltered) {
      const float* span = spans + SPAN_FIELDS * c;
      mass = (u32)(span[4] * expf((span[2] - scale.most) * scale.inverse) * scale.factor + 0.5f);
    }
    shared.counts[c] = mass;
  }
  __syncthreads();
  if (isFiltered) {
    for (int c = 0; c < numSpans; c++) {
      u32 mass = 0;
      for (int token = SPAN * c + i; token < SPAN * (c + 1) && token < V; token += THREADS) {
        mass += kept(quantum(logits[token], scale), least);
      }
      if (mass > 0) atomicAdd(&shared.counts[c], mass);
    }
    __syncthreads();
  }
  const int own = BINS / THREADS;
  u32 sum = 0;
  for (int d = 0; d < own; d++) sum += shared.counts[own * i + d];
  u32 upTo = sum_up_to(sum, shared.sums);
  const u32 mass = shared.sums[THREADS - 1];
  u32 aim = (u32)(row.u * (float)mass);
  if (aim > mass - 1) aim = mass - 1;
  if (upTo > aim && upTo - sum <= aim) {
    u32 before = upTo - sum;
    for (int d = 0; d < own; d++) {
      const u32 spanMass = shared.counts[own * i + d];
      if (before + spanMass > aim) {
        shared.choice[0] = own * i + d;
        shared.choice[1] = aim - before;
        break;
      }
      before += spanMass;
    }
  }
  __syncthreads();
  const u32 span = shared.choice[0], aimed = shared.choice[1];

  // Then the place in that span, eight tokens to a thread.
  const int each = SPAN / THREADS;
  const int begin = SPAN * span + each * i;
  sum = 0;
  for (int k = 0; k < each; k++) {
    if (begin + k < V) sum += kept(quantum(logits[begin + k], scale), least);
  }
  upTo = sum_up_to(sum, shared.sums);
  const u32 massInSpan = shared.sums[THREADS - 1];
  // A span of tokens that are all rounded to nothing.
  if (massInSpan == 0) return (int)spans[SPAN_FIELDS * span + 3];
  const u32 aimInSpan = aimed < massInSpan - 1 ? aimed : massInSpan - 1;
  if (upTo > aimInSpan && upTo - sum <= aimInSpan) {
    u32 before = upTo - sum;
    for (int k = 0; k < each; k++) {
      const u32 q = begin + k < V ? kept(quantum(logits[begin + k], scale), least) : 0;
      if (before + q > aimInSpan) {
        shared.choice[0] = begin + k;
        break;
      }
      before += q;
    }
  }
  __syncthreads();
  return (int)shared.choice[0];
}

// Chooses each row's token from the edited logits and what sample_spans made of them.
//
// Probabilities are whole numbers of 2⁻³⁰, so sums do not depend on their order:
//   q = round(2³⁰ exp((s - max) / temperature) / Σ exp((s - max) / temperature))
//   kept are q >= least, where least is the largest that keeps what min-p, top-k, top-p want
//   the token is the first, by id, where the running sum of kept q exceeds u times their sum
//
// least is found digit by digit, of 10 bits each, from counts and sums of q by digit.
// → out (B, 2): token, logprob; sampled (slots): the token, -1 if it ends the sequence. Grid: B, blocks of 256.
extern "C" __global__ void __launch_bounds__(THREADS) sample_tokens(const SamplingParams p) {
  __shared__ Shared shared;
  __shared__ float mosts[THREADS / 32];
  __shared__ int bests[THREADS / 32];
  __shared__ float sums[THREADS / 32];
  __shared__ float logitBefore;
  const int t = blockIdx.x;
  const int i = threadIdx.x;
  const SampledRow row = row_at(p.rows, t);
  const float* logits = p.logits.at + (long long)t * p.logits.stride;
  const float* spans = p.spans + (long long)SPAN_FIELDS * t * p.numSpans;
  float* out = p.out.at + (long long)t * p.out.stride;
  float* sampled = p.sampled.at + (long long)row.slot * p.sampled.stride;
  const float inverse = 1.0f / fmaxf(row.temperature, 1e-6f);

  // What sample_spans found, of the whole row.
  float most = LOWEST, mostBefore = LOWEST, isBad = 0;
  int best = 0x7fffffff, unused = i;
  for (int c = i; c < p.numSpans; c += THREADS) {
    const float* span = spans + SPAN_FIELDS * c;
    mostBefore = fmaxf(mostBefore, span[0]);
    if (span[2] > most || (span[2] == most && (int)span[3] < best)) most = span[2], best = (int)span[3];
    isBad += span[5];
  }
  block_likeliest(mostBefore, unused, mosts, bests);
  block_likeliest(most, best, mosts, bests);
  float total = 0, totalBefore = 0;
  for (int c = i; c < p.numSpans; c += THREADS) {
    const float* span = spans + SPAN_FIELDS * c;
    totalBefore += span[1] * expf(span[0] - mostBefore);
    total += span[4] * expf((span[2] - most) * inverse);
  }
  total = block_sum(total, sums);
  totalBefore = block_sum(totalBefore, sums);
  isBad = block_sum(isBad, sums);
  if (isBad > 0 || most <= LOWEST) {
    if (i == 0) out[0] = -1, out[1] = 0, *sampled = -1;
    return;
  }
  int token = best;
  if (row.temperature > 0) {
    const Scale scale = {most, inverse, ONE / total};
    token = draw(shared, logits, spans, p.V, p.numSpans, row, scale);
  }

  if (i == 0) logitBefore = logits[token];
  __syncthreads();
  for (int e = row.firstEdit + i; e < row.firstEdit + row.numEdits; e += THREADS) {
    if (p.edits[EDIT_FIELDS * e] == token) logitBefore = p.originals[e];
  }
  __syncthreads();
  if (i == 0) {
    out[0] = (float)token;
    out[1] = logitBefore - mostBefore - logf(totalBefore);
    *sampled = is_end(p.rows, t, token) ? -1.0f : (float)token;
  }
}

struct TakeSampledParams {
  const int* tokenIds;
  const int* slots;
  Rows sampled;
  int* outTokenIds;
  int* outSlots;
  int B;
};

// Puts the token that was sampled last for a slot in place of -1. A sequence that ended with it gets the slot -1, for which
// nothing is computed. All (B), sampled (slots). Grid: a thread a row.
extern "C" __global__ void __launch_bounds__(256) take_sampled(const TakeSampledParams p) {
  const int b = blockIdx.x * 256 + threadIdx.x;
  if (b >= p.B) return;
  int token = p.tokenIds[b];
  int slot = p.slots[b];
  if (token < 0 && slot >= 0) {
    token = (int)vector_at(p.sampled, slot);
    if (token < 0) slot = -1;
  }
  p.outTokenIds[b] = token > 0 ? token : 0;
  p.outSlots[b] = slot;
}
