// Choice of tokens from logits, by rows of instructions as samplingInputs in src/backends/contract/sampling.ts lays them out.
#include "common.cuh"

#define THREADS 256
// Threads that choose a row's token, one for each digit and each span.
#define CHOOSERS 1024
// Logits that each of them reads at once, so that it doesn't wait for one after another.
#define READS 8
// Tokens of a span for each of them.
#define EACH (SPAN / CHOOSERS)
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

static __device__ __forceinline__ float inverse_of(float temperature) { return 1.0f / fmaxf(temperature, 1e-6f); }

static __device__ __forceinline__ bool is_likelier(float score, int token, float most, int best) {
  return score > most || (score == most && token < best);
}

// The highest score of a warp and its lowest index, for all lanes.
static __device__ __forceinline__ void warp_likeliest(float& most, int& best) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) {
    const float other = __shfl_xor_sync(ALL_LANES, most, offset);
    const int index = __shfl_xor_sync(ALL_LANES, best, offset);
    if (is_likelier(other, index, most, best)) most = other, best = index;
  }
}

// The highest score of a block and its lowest index, for all threads. `mosts` and `bests` hold one of each warp of 256 threads.
static __device__ __forceinline__ void block_likeliest(float& most, int& best, float* mosts, int* bests) {
  warp_likeliest(most, best);
  __syncthreads();
  if (threadIdx.x % 32 == 0) mosts[threadIdx.x / 32] = most, bests[threadIdx.x / 32] = best;
  __syncthreads();
  most = mosts[0], best = bests[0];
#pragma unroll
  for (int w = 1; w < THREADS / 32; w++) {
    if (is_likelier(mosts[w], bests[w], most, best)) most = mosts[w], best = bests[w];
  }
}

// The scores of this thread's tokens of a span: every 256th.
struct Own {
  float scores[SPAN / THREADS];
};

// The highest of them, and its token. Ties go to the lower one.
static __device__ __forceinline__ void own_likeliest(const Own& own, int begin, float& most, int& best) {
#pragma unroll
  for (int k = 0; k < SPAN / THREADS; k++) {
    if (own.scores[k] > most) most = own.scores[k], best = begin + (int)threadIdx.x + k * THREADS;
  }
}

static __device__ __forceinline__ float sum_of_exps(const Own& own, int count, float most, float inverse) {
  float sum = 0;
#pragma unroll
  for (int k = 0; k < SPAN / THREADS; k++) {
    if ((int)threadIdx.x + k * THREADS < count) sum += expf((own.scores[k] - most) * inverse);
  }
  return sum;
}

// Changes a span's scores, and the logits, as the row's edits and allowed tokens say.
static __device__ void edit_span(
    const SamplingParams& p, const SampledRow& row, float* logits, int begin, int count, Own& own, float* scores) {
  const int i = threadIdx.x;
#pragma unroll
  for (int k = 0; k < SPAN / THREADS; k++) scores[i + k * THREADS] = own.scores[k];
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
#pragma unroll
  for (int k = 0; k < SPAN / THREADS; k++) {
    const int token = begin + i + k * THREADS;
    own.scores[k] = scores[i + k * THREADS];
    if (row.firstWord < 0 || token >= begin + count) continue;
    if ((p.edits[row.firstWord + (token >> 5)] >> (token & 31)) & 1) continue;
    own.scores[k] = LOWEST;
    logits[token] = LOWEST;
  }
}

// Edits logits, forbids tokens, and sums up each span of 2048 tokens:
//
//   logits = edited(logits)                                     in place; what they were goes to originals
//   spans = (max, Σ exp(l - max)) of the logits l as they were
//            (max, its token, Σ exp((s - max) / temperature)) of the edited ones s
//            1 if a logit is NaN or +infinity
//
// The last sum is not made where the likeliest token is taken.
// logits (B, V), rows (B, 17), edits (edits, 4), originals (edits), spans (B, numSpans, 8). Grid: (numSpans, B), blocks of 256.
extern "C" __global__ void __launch_bounds__(THREADS) sample_spans(const SamplingParams p) {
  __shared__ float scores[SPAN];
  __shared__ float sums[3][THREADS / 32];
  __shared__ float mosts[THREADS / 32];
  __shared__ int bests[THREADS / 32];
  const int t = blockIdx.y;
  const int i = threadIdx.x;
  const SampledRow row = row_at(p.rows, t);
  await_previous();
  float* logits = p.logits.at + (long long)t * p.logits.stride;
  const int begin = blockIdx.x * SPAN;
  const int count = p.V - begin < SPAN ? p.V - begin : SPAN;

  Own own;
  float isBad = 0;
#pragma unroll
  for (int k = 0; k < SPAN / THREADS; k++) {
    const int c = i + k * THREADS;
    const float logit = c < count ? logits[begin + c] : -INFINITY;
    const bool isLow = logit == -INFINITY;
    if (!isLow && !(fabsf(logit) <= LARGEST)) isBad = 1;
    own.scores[k] = isLow ? LOWEST : logit;
  }
  float mostBefore = LOWEST;
  int best = begin;
  own_likeliest(own, begin, mostBefore, best);
  block_likeliest(mostBefore, best, mosts, bests);
  float most = mostBefore;
  const float sumBefore = sum_of_exps(own, count, mostBefore, 1);
  const bool isEdited = row.numEdits > 0 || row.firstWord >= 0;
  if (isEdited) {
    edit_span(p, row, logits, begin, count, own, scores);
    most = LOWEST, best = begin;
    own_likeliest(own, begin, most, best);
    block_likeliest(most, best, mosts, bests);
  }
  float sumAfter = 0;
  if (row.temperature > 0) {
    sumAfter = isEdited || row.temperature != 1 ? sum_of_exps(own, count, most, inverse_of(row.temperature)) : sumBefore;
  }
  const float inWarp[3] = {warp_sum(sumBefore), warp_sum(sumAfter), warp_sum(isBad)};
  if (i % 32 == 0) {
    for (int k = 0; k < 3; k++) sums[k][i / 32] = inWarp[k];
  }
  __syncthreads();
  if (i != 0) return;
  float all[3] = {0, 0, 0};
  for (int w = 0; w < THREADS / 32; w++) {
    for (int k = 0; k < 3; k++) all[k] += sums[k][w];
  }
  float* span = p.spans + SPAN_FIELDS * ((long long)t * p.numSpans + blockIdx.x);
  span[0] = mostBefore;
  span[1] = all[0];
  span[2] = most;
  span[3] = (float)best;
  span[4] = all[1];
  span[5] = all[2];
}

#define ONE 1073741824.0f
#define BINS CHOOSERS

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

// Sums of a value over the threads of a block.
struct Sums {
  u32 before;  // this thread
  u32 upTo;    // it: with its own
  u32 all;
};

static __device__ __forceinline__ u32 warp_sum_up_to(u32 value) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const u32 before = __shfl_sync(ALL_LANES, value, (lane - offset) & 31);
    if (lane >= offset) value += before;
  }
  return value;
}

// `warps` holds a sum of each of the 32 warps.
static __device__ __forceinline__ Sums block_sums(u32 value, u32* warps) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const u32 inWarp = warp_sum_up_to(value);
  __syncthreads();
  if (lane == 31) warps[warp] = inWarp;
  __syncthreads();
  const u32 ofWarps = warp_sum_up_to(warps[lane]);
  const u32 upTo = inWarp + (warp > 0 ? __shfl_sync(ALL_LANES, ofWarps, (warp - 1) & 31) : 0);
  return {upTo - value, upTo, __shfl_sync(ALL_LANES, ofWarps, 31)};
}

struct Shared {
  u32 warps[32];
  u32 counts[BINS];
  u32 masses[BINS];
  u32 choice[2];
};

// Calls `use(token, q)` for all tokens whose q is at least `least`, which is above 0.
template <class Use>
static __device__ __forceinline__ void for_each_kept(const float* logits, int V, const Scale& scale, u32 least, Use use) {
  for (int first = threadIdx.x; first < V; first += READS * CHOOSERS) {
    float scores[READS];
#pragma unroll
    for (int r = 0; r < READS; r++) {
      const int token = first + r * CHOOSERS;
      scores[r] = token < V ? logits[token] : LOWEST;
    }
#pragma unroll
    for (int r = 0; r < READS; r++) {
      const u32 q = quantum(scores[r], scale);
      if (q >= least) use(first + r * CHOOSERS, q);
    }
  }
}

// The largest q for which those from it on are enough: `count` of them or, with topP, that share of all from `least` on.
static __device__ u32 largest_that_keeps(
    Shared& shared, const float* logits, int V, const Scale& scale, u32 least, u32 count, float topP) {
  const int i = threadIdx.x;
  const int highest = BINS - 1 - i;
  const u32* weights = topP > 0 ? shared.masses : shared.counts;
  u32 prefix = 0, missing = count;
  for (int shift = 20; shift >= 0; shift -= 10) {
    __syncthreads();
    shared.counts[i] = 0, shared.masses[i] = 0;
    __syncthreads();
    // Most tokens are unlikely: each thread adds up those of digit 0 by itself.
    u32 rareCount = 0, rareMass = 0;
    for_each_kept(logits, V, scale, least, [&](int, u32 q) {
      const u32 digit = (q >> shift) & (BINS - 1);
      if ((q >> shift) >> 10 != prefix) return;
      if (digit == 0) {
        rareCount += 1;
        rareMass += q;
      } else {
        atomicAdd(&shared.counts[digit], 1u);
        atomicAdd(&shared.masses[digit], q);
      }
    });
    if (rareCount > 0) {
      atomicAdd(&shared.counts[0], rareCount);
      atomicAdd(&shared.masses[0], rareMass);
    }
    __syncthreads();
    // Digits from the highest down, one to a thread.
    const Sums sums = block_sums(weights[highest], shared.warps);
    if (shift == 20 && topP > 0) {
      missing = (u32)ceilf(topP * (float)sums.all);
      if (missing < 1) missing = 1;
    }
    if (sums.all < missing) return least;
    if (sums.upTo >= missing && sums.before < missing) {
      shared.choice[0] = highest;
      shared.choice[1] = missing - sums.before;
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
    // Rounded up it may be above the likeliest token's, which is kept in any case.
    const u32 largest = quantum(scale.most, scale);
    if (least > largest) least = largest;
    if (least < 1) least = 1;
    if (row.topK > 0) least = largest_that_keeps(shared, logits, V, scale, least, (u32)row.topK, 0);
    // One token in any case: float32 may have 0 for the share.
    if (row.topP < 1) least = largest_that_keeps(shared, logits, V, scale, least, 1, row.topP);
  }

  // The sum of each span.
  u32 spanMass = 0;
  if (isFiltered) {
    __syncthreads();
    shared.masses[i] = 0;
    __syncthreads();
    for_each_kept(logits, V, scale, least, [&](int token, u32 q) { atomicAdd(&shared.masses[token / SPAN], q); });
    __syncthreads();
    spanMass = shared.masses[i];
  } else if (i < numSpans) {
    const float* span = spans + SPAN_FIELDS * i;
    spanMass = (u32)(span[4] * expf((span[2] - scale.most) * scale.inverse) * scale.factor + 0.5f);
  }
  const Sums sums = block_sums(spanMass, shared.warps);
  u32 aim = (u32)(row.u * (float)sums.all);
  if (aim > sums.all - 1) aim = sums.all - 1;
  if (sums.upTo > aim && sums.before <= aim) {
    shared.choice[0] = i;
    shared.choice[1] = aim - sums.before;
  }
  __syncthreads();
  const int span = (int)shared.choice[0];
  const u32 aimed = shared.choice[1];

  // Then the place in that span, some tokens to a thread.
  const int begin = SPAN * span + EACH * i;
  u32 quanta[EACH];
  u32 mass = 0;
#pragma unroll
  for (int k = 0; k < EACH; k++) {
    quanta[k] = begin + k < V ? kept(quantum(logits[begin + k], scale), least) : 0;
    mass += quanta[k];
  }
  const Sums inSpan = block_sums(mass, shared.warps);
  // A span of tokens that are all rounded to nothing.
  if (inSpan.all == 0) return (int)spans[SPAN_FIELDS * span + 3];
  const u32 aimInSpan = aimed < inSpan.all - 1 ? aimed : inSpan.all - 1;
  if (inSpan.upTo > aimInSpan && inSpan.before <= aimInSpan) {
    u32 upTo = inSpan.before;
    int k = 0;
    while ((upTo += quanta[k]) <= aimInSpan) k++;
    shared.choice[0] = begin + k;
  }
  __syncthreads();
  return (int)shared.choice[0];
}

// What sample_spans found, of a whole row.
struct RowSums {
  float most;
  int best;
  float total;
  float mostBefore;
  float totalBefore;
  float isBad;
};

// For all lanes of a warp.
static __device__ __forceinline__ RowSums sums_of_row(const float* spans, int numSpans, float inverse) {
  RowSums sums = {LOWEST, 0x7fffffff, 0, LOWEST, 0, 0};
  for (int c = threadIdx.x % 32; c < numSpans; c += 32) {
    const float* span = spans + SPAN_FIELDS * c;
    sums.mostBefore = fmaxf(sums.mostBefore, span[0]);
    if (is_likelier(span[2], (int)span[3], sums.most, sums.best)) sums.most = span[2], sums.best = (int)span[3];
    sums.isBad += span[5];
  }
  sums.mostBefore = warp_max(sums.mostBefore);
  warp_likeliest(sums.most, sums.best);
  for (int c = threadIdx.x % 32; c < numSpans; c += 32) {
    const float* span = spans + SPAN_FIELDS * c;
    sums.totalBefore += span[1] * expf(span[0] - sums.mostBefore);
    sums.total += span[4] * expf((span[2] - sums.most) * inverse);
  }
  sums.total = warp_sum(sums.total);
  sums.totalBefore = warp_sum(sums.totalBefore);
  sums.isBad = warp_sum(sums.isBad);
  return sums;
}

// Chooses each row's token from the edited logits and what sample_spans made of them.
//
// Probabilities are whole numbers of 2⁻³⁰, so sums do not depend on their order:
//   q = round(2³⁰ exp((s - max) / temperature) / Σ exp((s - max) / temperature))
//   kept are q >= least, where least is the largest that keeps what min-p, top-k, top-p want
//   the token is the first, by id, where the running sum of kept q exceeds u times their sum
//
// least is found digit by digit, of 10 bits each, from counts and sums of q by digit.
// → out (B, 2): token, logprob; sampled (slots): the token, -1 if it ends the sequence; nothing for slot -1. Grid: B, blocks of 1024.
extern "C" __global__ void __launch_bounds__(CHOOSERS) sample_tokens(const SamplingParams p) {
  __shared__ Shared shared;
  __shared__ RowSums found;
  __shared__ float logitBefore;
  const int t = blockIdx.x;
  const int i = threadIdx.x;
  const SampledRow row = row_at(p.rows, t);
  await_previous();
  const float* logits = p.logits.at + (long long)t * p.logits.stride;
  const float* spans = p.spans + (long long)SPAN_FIELDS * t * p.numSpans;
  float* out = p.out.at + (long long)t * p.out.stride;
  float* sampled = p.sampled.at + (long long)row.slot * p.sampled.stride;
  const float inverse = inverse_of(row.temperature);

  if (i < 32) {
    const RowSums sums = sums_of_row(spans, p.numSpans, inverse);
    if (i == 0) found = sums;
  }
  __syncthreads();
  const RowSums sums = found;
  if (sums.isBad > 0 || sums.most <= LOWEST) {
    if (i == 0) out[0] = -1, out[1] = 0;
    if (i == 0 && row.slot >= 0) *sampled = -1;
    return;
  }
  int token = sums.best;
  if (row.temperature > 0) {
    const Scale scale = {sums.most, inverse, ONE / sums.total};
    token = draw(shared, logits, spans, p.V, p.numSpans, row, scale);
  }

  if (i == 0) logitBefore = logits[token];
  __syncthreads();
  for (int e = row.firstEdit + i; e < row.firstEdit + row.numEdits; e += CHOOSERS) {
    if (p.edits[EDIT_FIELDS * e] == token) logitBefore = p.originals[e];
  }
  __syncthreads();
  if (i == 0) {
    out[0] = (float)token;
    out[1] = logitBefore - sums.mostBefore - logf(sums.totalBefore);
    if (row.slot >= 0) *sampled = is_end(p.rows, t, token) ? -1.0f : (float)token;
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
  await_previous();
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
