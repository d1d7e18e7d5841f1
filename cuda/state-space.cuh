// The selective state-space recurrence: one step of each row (decode), packed sequences (prefill), and its decays.
//
//   Δ = clamp(softplus(dt + bias)),  h = exp(min(A Δ, 0)) h + Δ x ⊗ B,  y = (h C + D x) silu(z)
//
// A warp has whole rows of a head's state (P, N). Lane l of it has the columns N / 32 * l ... of a state of 64, 128 or 256,
// and every 32nd of any other. A lane sums h C over its columns in their order, then lanes 16, 8, 4, 2 and 1 apart are added.
//
// States may have 16 bits, two in a word: they are rounded after every token, and y is of the state before that.
#pragma once
#include "common.cuh"
#include "formats.cuh"

struct StateSpaceParams {
  Rows x;
  Rows z;
  Rows B;
  Rows C;
  Rows dt;
  Rows A;
  Rows D;
  Rows dtBias;
  Rows out;
  float* states;
  long long stateStride;
  const int* starts;
  const int* slots;
  const int* hasInitialState;
  int keepState;
  // Of the sequences' first tokens, where states are rounded stochastically.
  const int* positions;
  // Inputs of the tokens that slots' states lack, x, B and dt of each in a row, `mostReplayed` rows for each slot; and how many
  // of them there are for each row of the batch.
  Rows replayed;
  const int* replayCounts;
  int mostReplayed;
  // What is made of chunks of a prompt, see chunk-scan.cu; and positions of the sequences' first tokens, which say where chunks
  // begin.
  u16* chunkHalves;
  float* chunkProducts;
  float* chunkSteps;
  u16* chunkStates;
  float* chunkPowers;
  const int* chunkPositions;
  // Which tokens of a sequence a scan takes: all, or those before or after its whole chunks.
  int stretch;
  int sequences;
  int stateKey;
  // Of the layer's state over all ranks, the row that this one begins with.
  int firstRow;
  int stateFormat;
  int rows;
  int H;
  int P;
  int N;
  int headsPerGroup;
  int dtHead;
  int dtChannel;
  int aChannel;
  int aState;
  int dChannel;
  int biasChannel;
  int hasZ;
  int hasD;
  int hasBias;
  int isSoftplus;
  float dtLow;
  float dtHigh;
};

static __device__ __forceinline__ float step_at(const StateSpaceParams& p, long long t, int h, int c) {
  return p.dt.at[t * p.dt.stride + h * p.dtHead + c * p.dtChannel];
}

static __device__ __forceinline__ float bias_of(const StateSpaceParams& p, int h, int c) {
  return p.dtBias.at[h * p.dtBias.stride + c * p.biasChannel];
}

template <class Params>
static __device__ __forceinline__ float delta_with(const Params& p, float v, float bias) {
  if (p.hasBias) v += bias;
  if (p.isSoftplus) v = softplus(v);
  return fminf(p.dtHigh, fmaxf(p.dtLow, v));
}

static __device__ __forceinline__ float delta_of(const StateSpaceParams& p, float v, int h, int c) {
  return delta_with(p, v, p.hasBias ? bias_of(p, h, c) : 0.0f);
}

static __device__ __forceinline__ float delta_at(const StateSpaceParams& p, long long t, int h, int c) {
  return delta_of(p, step_at(p, t, h, c), h, c);
}

static __device__ __forceinline__ float decay_of(float A, float delta) { return expf(fminf(A * delta, 0.0f)); }

static __device__ __forceinline__ u32 mixed(u32 h) {
  h = (h ^ (h >> 16)) * 0x85ebca6bu;
  h = (h ^ (h >> 13)) * 0xc2b2ae35u;
  return h ^ (h >> 16);
}

// Random bits of a token, of a row of its state, and of a column: see RandomBits in src/tensor/state-dtype.ts.
static __device__ __forceinline__ u32 token_bits(const StateSpaceParams& p, long long b, long long t) {
  return p.positions ? mixed((u32)p.stateKey + (u32)(p.positions[b] + (int)t) * 0x9e3779b1u) : 0;
}
static __device__ __forceinline__ u32 row_factor(const StateSpaceParams& p, u32 token, int row) {
  return p.positions ? mixed(token + (u32)(p.firstRow + row) * 0x85ebca6bu) | 1 : 0;
}
static __device__ __forceinline__ u32 column_factor(int column) { return mixed((u32)column + 0xc2b2ae35u) | 1; }

// A state as one of STATES has it, still as float32: the nearest, or one of the two next to it as random bits say, which are
// 0 where they are not asked for. float16 saturates; NaN stays NaN.
template <int STATES>
static __device__ __forceinline__ float rounded(float v, u32 bits, bool isRandom) {
  if (STATES == BFLOAT16) {
    const u32 word = __float_as_uint(v);
    // A carry would make 0 of the last NaN.
    if ((word & 0x7fffffffu) > 0x7f800000u) return bits_to_float(0x7fc00000u);
    return bits_to_float((word + (isRandom ? bits >> 16 : 0x7fffu + ((word >> 16) & 1))) & 0xffff0000u);
  }
  // fminf and fmaxf would make numbers of NaN. Rounding takes none of the largest values further.
  v = v > 65504.0f ? 65504.0f : v < -65504.0f ? -65504.0f : v;
  // Of a step, a little less than half is added at most. A sum with `large` has neighbours that are a step away.
  const float power = fmaxf(bits_to_float(__float_as_uint(v) & 0x7f800000u), 6.103515625e-5f);
  const float large = power * 12288.0f;
  return fmaf((float)(int)bits, power * 2.273181642920008e-13f, v) + large - large;
}

// Two rounded states as a word, the first in its lower half, and back.
template <int STATES>
static __device__ __forceinline__ u32 word_of(float low, float high) {
  if (STATES == FLOAT16) return floats_to_halves(low, high);
  return __float_as_uint(low) >> 16 | (__float_as_uint(high) & 0xffff0000u);
}
template <int STATES>
static __device__ __forceinline__ float half_of_word(u32 half) {
  return STATES == FLOAT16 ? half_to_float(half) : bits_to_float(half << 16);
}

// Two values as the nearest states, as a word: the same as rounded values, in fewer instructions.
template <int STATES>
static __device__ __forceinline__ u32 nearest_word(float low, float high) {
  return STATES == FLOAT16 ? finite_halves(floats_to_halves(low, high)) : floats_to_bfloats(low, high);
}

static __device__ __forceinline__ float skip_of(const StateSpaceParams& p, int h, int c) {
  return p.hasD ? p.D.at[h * p.D.stride + c * p.dChannel] : 0.0f;
}

static __device__ __forceinline__ float with_skip_and_gate(
    const StateSpaceParams& p, float y, float x, float D, long long t, int h, int c) {
  if (p.hasD) y = fmaf(D, x, y);
  if (p.hasZ) y *= silu(p.z.at[t * p.z.stride + (long long)h * p.P + c]);
  return y;
}

// A lane's part of a row of the state or of B and C: N / 32 neighbours.
template <int OWN>
static __device__ __forceinline__ void load_own(const float* row, float* own) {
  const int lane = threadIdx.x % 32;
  if (OWN == 2) {
    float2 v = *(const float2*)(row + 2 * lane);
    own[0] = v.x, own[1] = v.y;
  } else {
#pragma unroll
    for (int i = 0; i < OWN; i += 4) {
      float4 v = *(const float4*)(row + OWN * lane + i);
      own[i] = v.x, own[i + 1] = v.y, own[i + 2] = v.z, own[i + 3] = v.w;
    }
  }
}

template <int OWN>
static __device__ __forceinline__ void store_own(float* row, const float* own) {
  const int lane = threadIdx.x % 32;
  if (OWN == 2) {
    *(float2*)(row + 2 * lane) = make_float2(own[0], own[1]);
  } else {
#pragma unroll
    for (int i = 0; i < OWN; i += 4) {
      *(float4*)(row + OWN * lane + i) = make_float4(own[i], own[i + 1], own[i + 2], own[i + 3]);
    }
  }
}

// As load_own and store_own, of a row of 16-bit states.
template <int OWN, int STATES>
static __device__ __forceinline__ void load_short(const u16* row, float* own) {
  const u32* at = (const u32*)row + OWN / 2 * (threadIdx.x % 32);
  u32 words[4];
  if (OWN == 2) {
    words[0] = at[0];
  } else if (OWN == 4) {
    const uint2 v = *(const uint2*)at;
    words[0] = v.x, words[1] = v.y;
  } else {
    const uint4 v = *(const uint4*)at;
    words[0] = v.x, words[1] = v.y, words[2] = v.z, words[3] = v.w;
  }
#pragma unroll
  for (int i = 0; i < OWN; i += 2) {
    own[i] = half_of_word<STATES>(words[i / 2] & 0xffffu), own[i + 1] = half_of_word<STATES>(words[i / 2] >> 16);
  }
}

template <int OWN>
static __device__ __forceinline__ void store_words(u16* row, const u32* words) {
  u32* at = (u32*)row + OWN / 2 * (threadIdx.x % 32);
  if (OWN == 2) *at = words[0];
  else if (OWN == 4) *(uint2*)at = make_uint2(words[0], words[1]);
  else *(uint4*)at = make_uint4(words[0], words[1], words[2], words[3]);
}

// Rounds a lane's part of a row: `factor` is the row's, `columns` the lane's.
template <int OWN, int STATES>
static __device__ __forceinline__ void round_own(float* own, u32 factor, const u32* columns, bool isRandom) {
  if (isRandom) {
#pragma unroll
    for (int i = 0; i < OWN; i++) own[i] = rounded<STATES>(own[i], factor * columns[i], true);
  } else {
#pragma unroll
    for (int i = 0; i < OWN; i += 2) {
      const u32 word = nearest_word<STATES>(own[i], own[i + 1]);
      own[i] = half_of_word<STATES>(word & 0xffffu), own[i + 1] = half_of_word<STATES>(word >> 16);
    }
  }
}

// Stores a lane's part of a row of rounded states.
template <int OWN, int STATES>
static __device__ __forceinline__ void store_short(u16* row, const float* own) {
  u32 words[4];
#pragma unroll
  for (int i = 0; i < OWN; i += 2) words[i / 2] = word_of<STATES>(own[i], own[i + 1]);
  store_words<OWN>(row, words);
}

// Rounds a lane's part of a row as round_own does, and stores it.
template <int OWN, int STATES>
static __device__ __forceinline__ void store_rounded(u16* row, float* own, u32 factor, const u32* columns, bool isRandom) {
  if (isRandom) {
    round_own<OWN, STATES>(own, factor, columns, true);
    store_short<OWN, STATES>(row, own);
  } else {
    u32 words[4];
#pragma unroll
    for (int i = 0; i < OWN; i += 2) words[i / 2] = nearest_word<STATES>(own[i], own[i + 1]);
    store_words<OWN>(row, words);
  }
}

template <int OWN>
static __device__ __forceinline__ void load_columns(const StateSpaceParams& p, u32* columns) {
#pragma unroll
  for (int i = 0; i < OWN; i++) columns[i] = p.positions ? column_factor(OWN * (threadIdx.x % 32) + i) : 0;
}

// As load_own, of a row that may begin anywhere.
template <int OWN>
static __device__ __forceinline__ void load_anywhere(const float* row, float* own) {
  if (((u64)row & 15) == 0) {
    load_own<OWN>(row, own);
    return;
  }
#pragma unroll
  for (int i = 0; i < OWN; i++) own[i] = row[OWN * (threadIdx.x % 32) + i];
}

// Adds what lanes OFFSET apart have of 2 * HALF values: each keeps half of them.
template <int HALF, int OFFSET>
static __device__ __forceinline__ void fold(float* v) {
  const bool isUpper = threadIdx.x & OFFSET;
#pragma unroll
  for (int i = 0; i < HALF; i++) {
    const float sent = isUpper ? v[i] : v[i + HALF];
    const float own = isUpper ? v[i + HALF] : v[i];
    v[i] = own + __shfl_xor_sync(ALL_LANES, sent, OFFSET);
  }
}

// Sums over the warp of 8 values of each lane: lane l gets that of value l / 4. Lanes are added in the order of warp_sum.
static __device__ __forceinline__ float sums_of_8(float* v) {
  fold<4, 16>(v);
  fold<2, 8>(v);
  fold<1, 4>(v);
  v[0] += __shfl_xor_sync(ALL_LANES, v[0], 2);
  return v[0] + __shfl_xor_sync(ALL_LANES, v[0], 1);
}

// The same of 32 values: lane l gets that of value l.
static __device__ __forceinline__ float sums_of_32(float* v) {
  fold<16, 16>(v);
  fold<8, 8>(v);
  fold<4, 4>(v);
  fold<2, 2>(v);
  fold<1, 1>(v);
  return v[0];
}

// Four floats of a row that lie at a multiple of 16 bytes, or are copied one by one.
static __device__ __forceinline__ void copy_quad(float* to, const float* from, int count, bool isAligned) {
  if (isAligned && count > 0) {
    copy_early((uint4*)to, from, true);
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++) to[i] = i < count ? from[i] : 0.0f;
  }
}

static __device__ __forceinline__ bool are_aligned(const Rows& x, long long column) {
  return ((u64)(x.at + column) & 15) == 0 && x.stride % 4 == 0;
}

// Rows of the state that a warp has in one step.
#define UPDATE_ROWS 8

// One step of the rows of the state that a warp has, whose loads are on their way together.
//
// With REPLAYS the slot's state lacks some tokens, which are computed first, exactly as steps of their own would have done it.
// Where it lacks as many as it may, it is written; elsewhere the new token's inputs join those of the others. Without x there
// is no new token: the state is written with the tokens that it lacked.
template <int OWN, int STATES, bool REPLAYS>
static __device__ __forceinline__ void state_update(const StateSpaceParams& p) {
  const int N = 32 * OWN;
  const int parts = (p.P + 31) / 32;
  const long long t = blockIdx.x / parts;
  const int h = blockIdx.y;
  const int lane = threadIdx.x % 32;
  const int blockFirst = blockIdx.x % parts * 32;
  const int first = blockFirst + UPDATE_ROWS * (threadIdx.x / 32);
  if (!REPLAYS && first >= p.P) return;
  const int slot = p.slots ? p.slots[t] : (int)t;
  const int count = REPLAYS && slot >= 0 ? p.replayCounts[t] : 0;
  const bool hasToken = !REPLAYS || p.x.at;
  if (!hasToken && count == 0) {
    await_previous();
    return;
  }
  const int group = h / p.headsPerGroup;
  float* states = p.states + slot * p.stateStride;
  const long long own = ((long long)h * p.P + first) * N;
  float state[UPDATE_ROWS][OWN];
#pragma unroll
  for (int r = 0; r < UPDATE_ROWS; r++) {
#pragma unroll
    for (int i = 0; i < OWN; i++) state[r][i] = 0;
    if (slot < 0 || first + r >= p.P) continue;
    if (STATES) load_short<OWN, STATES>((const u16*)states + own + (long long)r * N, state[r]);
    else load_own<OWN>(states + own + (long long)r * N, state[r]);
  }
  SHARED_BY_LAUNCH(tokens);
  float* tokensB = (float*)tokens;
  float* tokensX = tokensB + p.mostReplayed * N;
  const int columnB = p.H * p.P, columnOfDt = columnB + p.H / p.headsPerGroup * N;
  float* kept = p.replayed.at + (long long)slot * p.mostReplayed * p.replayed.stride;
  if (REPLAYS && count > 0) {
    const int column = h * p.P + blockFirst, groupColumn = columnB + group * N;
    const bool isAligned = are_aligned(p.replayed, column) && p.P % 4 == 0, isAlignedB = are_aligned(p.replayed, groupColumn);
    for (int i = threadIdx.x; i < count * (N / 4); i += 128) {
      const float* B = kept + i / (N / 4) * p.replayed.stride + groupColumn;
      copy_quad(tokensB + 4 * i, B + i % (N / 4) * 4, 4, isAlignedB);
    }
    for (int i = threadIdx.x; i < count * 8; i += 128) {
      const float* x = kept + i / 8 * p.replayed.stride + column;
      copy_quad(tokensX + 4 * i, x + i % 8 * 4, p.P - blockFirst - i % 8 * 4, isAligned);
    }
    group_copies();
  }
  // Lane 4 r has row r's x and y.
  const int c = first + lane / 4;
  const float A = p.A.at[h * p.A.stride], bias = p.hasBias ? bias_of(p, h, 0) : 0.0f;
  const float D = c < p.P ? skip_of(p, h, c) : 0.0f;
  await_previous();
  const float x = hasToken && c < p.P ? p.x.at[t * p.x.stride + (long long)h * p.P + c] : 0.0f;
  float B[OWN], C[OWN];
  if (hasToken) {
    load_anywhere<OWN>(p.B.at + t * p.B.stride + (long long)group * N, B);
    load_anywhere<OWN>(p.C.at + t * p.C.stride + (long long)group * N, C);
  }
  // Lane j has the step of the j-th kept token; those beyond, the last among them, that of the new one.
  const bool isOfKept = REPLAYS && lane < count;
  const float step = isOfKept ? kept[lane * p.replayed.stride + columnOfDt + h] : hasToken ? step_at(p, t, h, 0) : 0.0f;
  const float delta = delta_with(p, step, bias);
  const float decay = decay_of(A, delta);
  u32 columns[OWN];
  if (STATES) load_columns<OWN>(p, columns);
  if (REPLAYS && count > 0) {
    wait_copies<0>();
    __syncthreads();
#pragma unroll 1
    for (int j = 0; j < count; j++) {
      const float deltaOfToken = __shfl_sync(ALL_LANES, delta, j), decayOfToken = __shfl_sync(ALL_LANES, decay, j);
      const u32 token = STATES ? token_bits(p, t, hasToken ? j - count : j) : 0;
      const float* xOfToken = tokensX + 32 * j + UPDATE_ROWS * (threadIdx.x / 32);
      float BOfToken[OWN];
      load_own<OWN>(tokensB + j * N, BOfToken);
#pragma unroll
      for (int r = 0; r < UPDATE_ROWS; r++) {
        const float dx = deltaOfToken * xOfToken[r];
#pragma unroll
        for (int i = 0; i < OWN; i++) state[r][i] = fmaf(decayOfToken, state[r][i], dx * BOfToken[i]);
        if (STATES) round_own<OWN, STATES>(state[r], row_factor(p, token, h * p.P + first + r), columns, p.positions);
      }
    }
  }
  const bool isWritten = slot >= 0 && (!REPLAYS || !hasToken || count == p.mostReplayed);
  const u32 token = STATES && hasToken ? token_bits(p, t, 0) : 0;
  const float deltaOfToken = REPLAYS ? __shfl_sync(ALL_LANES, delta, 31) : delta;
  const float decayOfToken = REPLAYS ? __shfl_sync(ALL_LANES, decay, 31) : decay;
  float y[UPDATE_ROWS];
#pragma unroll
  for (int r = 0; r < UPDATE_ROWS; r++) {
    if (hasToken) {
      const float dx = deltaOfToken * __shfl_sync(ALL_LANES, x, 4 * r);
      y[r] = 0;
#pragma unroll
      for (int i = 0; i < OWN; i++) {
        state[r][i] = fmaf(decayOfToken, state[r][i], dx * B[i]);
        y[r] = fmaf(state[r][i], C[i], y[r]);
      }
    }
    if (!isWritten || first + r >= p.P) continue;
    if (STATES) {
      u16* row = (u16*)states + own + (long long)r * N;
      if (hasToken) {
        store_rounded<OWN, STATES>(row, state[r], row_factor(p, token, h * p.P + first + r), columns, p.positions);
      } else {
        store_short<OWN, STATES>(row, state[r]);
      }
    } else {
      store_own<OWN>(states + own + (long long)r * N, state[r]);
    }
  }
  if (!hasToken) return;
  const float sum = sums_of_8(y);
  const bool isOfLane = lane % 4 == 0 && c < p.P;
  if (isOfLane) p.out.at[t * p.out.stride + (long long)h * p.P + c] = with_skip_and_gate(p, sum, x, D, t, h, c);
  if (!REPLAYS || slot < 0 || isWritten) return;
  float* joined = kept + count * p.replayed.stride;
  if (isOfLane) joined[h * p.P + c] = x;
  if (first > 0) return;
  if (lane == 31) joined[columnOfDt + h] = step;
  if (h % p.headsPerGroup > 0) return;
#pragma unroll
  for (int i = 0; i < OWN; i++) joined[columnB + group * N + OWN * lane + i] = B[i];
}

// A token in a scan: its rows of B and C, the x of a warp's rows of the state, and what rounds that.
struct ScannedToken {
  const float* B;
  const float* C;
  const float* x;
  float delta;
  float decay;
  u32 bits;
};

// One token of a warp's rows of the state, of which the first is `first`, and what each lane has of their outputs.
template <int OWN, int STATES, int ROWS>
static __device__ __forceinline__ void advance(
    const StateSpaceParams& p, float (*state)[OWN], const ScannedToken& token, int first, const u32* columns, float* y) {
  float B[OWN], C[OWN];
  load_own<OWN>(token.B, B);
  load_own<OWN>(token.C, C);
  __align__(16) float x[ROWS];
  if (ROWS == 4) *(float4*)x = *(const float4*)token.x;
  else *(float2*)x = *(const float2*)token.x;
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    const float dx = token.delta * x[r];
    y[r] = 0;
#pragma unroll
    for (int i = 0; i < OWN; i++) {
      state[r][i] = fmaf(token.decay, state[r][i], dx * B[i]);
      y[r] = fmaf(state[r][i], C[i], y[r]);
    }
    if (STATES) round_own<OWN, STATES>(state[r], row_factor(p, token.bits, first + r), columns, p.positions);
  }
}

// A condition that is known when a kernel is compiled.
template <bool VALUE>
struct Constant {
  static const bool value = VALUE;
};

// Tokens of a chunk.
#define CHUNK 64

// The whole chunks of a sequence, which begin where the position is a multiple of 64: the first one's first row, and how many
// there are. A padded sequence has none, because it has no memory for its state between them and what comes before and after.
struct Chunks {
  long long first;
  int count;
};
static __device__ __forceinline__ Chunks chunks_of(const StateSpaceParams& p, int b) {
  const long long begin = p.starts[b], end = p.starts[b + 1];
  const long long first = begin + (CHUNK - p.chunkPositions[b] % CHUNK) % CHUNK;
  if ((p.slots && p.slots[b] < 0) || first >= end) return {end, 0};
  const int count = (int)(end - first) / CHUNK;
  return {count > 0 ? first : end, count};
}

enum { WHOLE_SEQUENCE, BEFORE_CHUNKS, AFTER_CHUNKS };

// Tokens of a sequence one after another, with ROWS rows of the state in a warp's registers. Some tokens at a time lie in shared
// memory, where the next ones are copied meanwhile. Fewer rows are more instructions for each, and more warps that have them.
template <int OWN, int STATES, int ROWS = 4>
static __device__ __forceinline__ void state_scan(const StateSpaceParams& p) {
  // The outputs of so many tokens are summed over the lanes together.
  const int N = 32 * OWN, TILE = OWN == 8 ? 8 : 16, TOKENS = 32 / ROWS;
  __shared__ __align__(16) float tileB[2][TILE * N];
  __shared__ __align__(16) float tileC[2][TILE * N];
  __shared__ __align__(16) float tileX[2][TILE * 4 * ROWS];
  // Δ and the decay of each token.
  __shared__ float2 factors[2][TILE];
  const int h = blockIdx.y;
  const int b = blockIdx.z;
  const long long origin = p.starts[b];
  long long begin = origin, end = p.starts[b + 1];
  if (p.stretch) {
    const Chunks chunks = chunks_of(p, b);
    if (p.stretch == BEFORE_CHUNKS) end = chunks.first;
    else begin = chunks.first + (long long)CHUNK * chunks.count;
  }
  if (begin == end) return;
  const int slot = p.slots ? p.slots[b] : b;
  const int lane = threadIdx.x % 32;
  const int blockFirst = 4 * ROWS * blockIdx.x;
  const int first = blockFirst + ROWS * (threadIdx.x / 32);
  const bool hasPast = slot >= 0 && (begin > origin || (p.hasInitialState && p.hasInitialState[b]));
  float* states = p.states + slot * p.stateStride + (long long)h * p.P * N / (STATES ? 2 : 1);
  float state[ROWS][OWN];
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
#pragma unroll
    for (int i = 0; i < OWN; i++) state[r][i] = 0;
    if (!hasPast || first + r >= p.P) continue;
    if (STATES) load_short<OWN, STATES>((const u16*)states + (long long)(first + r) * N, state[r]);
    else load_own<OWN>(states + (long long)(first + r) * N, state[r]);
  }
  u32 columns[OWN];
  if (STATES) load_columns<OWN>(p, columns);
  const float A = p.A.at[h * p.A.stride];
  const int c = first + lane % ROWS;
  const float D = c < p.P ? skip_of(p, h, c) : 0.0f;
  const long long groupColumn = (long long)(h / p.headsPerGroup) * N, column = (long long)h * p.P + blockFirst;
  const bool isAligned = are_aligned(p.B, groupColumn) && are_aligned(p.C, groupColumn);
  const bool isAlignedX = are_aligned(p.x, column) && p.P % 4 == 0;
  auto count_of = [&](long long tile) { return end - tile < TILE ? (int)(end - tile) : TILE; };
  float step = 0;
  auto copy = [&](long long tile, int buffer) {
    const int count = count_of(tile);
    for (int i = threadIdx.x; i < count * (N / 4); i += 128) {
      const long long t = tile + i / (N / 4), at = groupColumn + i % (N / 4) * 4;
      copy_quad(&tileB[buffer][4 * i], p.B.at + t * p.B.stride + at, 4, isAligned);
      copy_quad(&tileC[buffer][4 * i], p.C.at + t * p.C.stride + at, 4, isAligned);
    }
    for (int i = threadIdx.x; i < count * ROWS; i += 128) {
      const float* x = p.x.at + (tile + i / ROWS) * p.x.stride + column + i % ROWS * 4;
      copy_quad(&tileX[buffer][4 * i], x, p.P - blockFirst - i % ROWS * 4, isAlignedX);
    }
    group_copies();
  };
  // The factors of a tile are made while the one before it is scanned, of steps that were loaded before that.
  auto load_step = [&](long long tile) {
    if (threadIdx.x < TILE && tile + threadIdx.x < end) step = step_at(p, tile + threadIdx.x, h, 0);
  };
  auto put_factors = [&](int buffer) {
    if (threadIdx.x >= TILE) return;
    const float delta = delta_of(p, step, h, 0);
    factors[buffer][threadIdx.x] = make_float2(delta, decay_of(A, delta));
  };
  copy(begin, 0);
  load_step(begin);
  put_factors(0);
  load_step(begin + TILE);
  int buffer = 0;
#pragma unroll 1
  for (long long tile = begin; tile < end; tile += TILE, buffer ^= 1) {
    const int count = count_of(tile);
    wait_copies<0>();
    __syncthreads();
    if (tile + TILE < end) {
      copy(tile + TILE, buffer ^ 1);
      put_factors(buffer ^ 1);
      load_step(tile + 2 * TILE);
    }
    // The 32 sums over the warp of some tokens are made together: one after another they would wait for the lanes. Of a whole tile
    // no token is asked whether it is there, so that its loads come before the work on those ahead of it.
    auto scan = [&](int s, auto isWhole) {
      float y[32];
#pragma unroll
      for (int i = 0; i < TOKENS; i++) {
        const int at = s + i;
        if (isWhole.value || at < count) {
          const float* x = tileX[buffer] + 4 * ROWS * at + ROWS * (threadIdx.x / 32);
          const u32 bits = STATES ? token_bits(p, b, tile + at - origin) : 0;
          const float2 f = factors[buffer][at];
          const ScannedToken token = {tileB[buffer] + at * N, tileC[buffer] + at * N, x, f.x, f.y, bits};
          advance<OWN, STATES, ROWS>(p, state, token, h * p.P + first, columns, y + ROWS * i);
        } else {
#pragma unroll
          for (int r = 0; r < ROWS; r++) y[ROWS * i + r] = 0;
        }
      }
      const float sum = sums_of_32(y);
      const int own = s + lane / ROWS;
      if ((isWhole.value || own < count) && c < p.P) {
        const float x = tileX[buffer][4 * ROWS * own + ROWS * (threadIdx.x / 32) + lane % ROWS];
        p.out.at[(tile + own) * p.out.stride + (long long)h * p.P + c] = with_skip_and_gate(p, sum, x, D, tile + own, h, c);
      }
    };
    if (count == TILE) {
#pragma unroll 1
      for (int s = 0; s < TILE; s += TOKENS) scan(s, Constant<true>());
    } else {
#pragma unroll 1
      for (int s = 0; s < count; s += TOKENS) scan(s, Constant<false>());
    }
  }
  if (slot < 0 || !p.keepState) return;
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    if (first + r >= p.P) break;
    if (STATES) store_short<OWN, STATES>((u16*)states + (long long)(first + r) * N, state[r]);
    else store_own<OWN>(states + (long long)(first + r) * N, state[r]);
  }
}
