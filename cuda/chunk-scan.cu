// Prompts by chunks of 64 tokens on tensor cores: the SSD form of Mamba-2 (arXiv:2405.21060, section 6) of the recurrence in
// state-space.cuh, with float32 sums of products of float16. Within a chunk, with a_t = Σ_{s ≤ t} min(A Δ_s, 0):
//
//   y_t = exp(a_t) S C_t + Σ_{s ≤ t} exp(a_t - a_s) Δ_s (C_t · B_s) x_s
//   S ← exp(a_last) S + Σ_s exp(a_last - a_s) Δ_s x_s ⊗ B_s
//
// chunk_rows_* makes what all heads of a group share, B and C in float16 and C · B, and the steps and decays of each head.
// chunk_states_* goes through a sequence's chunks one after another, with the state in float32 in its registers, and leaves that
// before each chunk in float16. chunk_outputs_* makes the outputs of all chunks at once. Whatever becomes float16 is divided by a
// power of two first, so that nothing overflows: B and C of a chunk, and x of a chunk and the state of a block's channels.
//
// Chunks begin where the position in the sequence is a multiple of 64. Only whole ones are taken: state_scan_* has the tokens
// before and after them.
#include "state-space.cuh"

// Channels of a block.
#define CHANNELS 32
// Tiles of 16 times 16 tokens at and below the diagonal.
#define TOKEN_TILES 10
// What C · B of a chunk weighs 1 at most: it is below N, and float16 ends at 65504.
#define MOST_WEIGHT 128.0f
// Floats of a chunk and a group: eight of each lane for each tile of C · B, what B and C were divided by, and two more. The first
// group's have there what offset_at is of.
#define SHARED_FLOATS (TOKEN_TILES * 256 + 4)
// Floats of a chunk and a head: of each token the weight of x for the state; what these weights and those for the outputs were divided
// by, the decay over the chunk, and one more; of each token the decay from before the chunk on; and of each the sum a and what it
// weighs in outputs.
#define STATE_FLOATS (CHUNK + 4)
#define STEP_FLOATS (STATE_FLOATS + 3 * CHUNK)

// Where the eight values of piece i of row r lie in shared memory, rows of PIECES pieces, against conflicts of banks.
template <int PIECES>
static __device__ __forceinline__ int place(int r, int i) {
  return PIECES == 4 ? 4 * r + (i ^ r / 2 % 4) : PIECES * r + (i ^ r % 8);
}

// A power of two above a magnitude.
static __device__ __forceinline__ float power_above(float most) {
  return 2.0f * bits_to_float(__float_as_uint(fminf(fmaxf(most, 1e-30f), 1e37f)) & 0x7f800000u);
}
// 1 divided by a power of two between 2^-126 and 2^126.
static __device__ __forceinline__ float inverse_of(float power) { return bits_to_float(0x7f000000u - __float_as_uint(power)); }
// The power of two by which values are divided so that they fill the range of float16: the smallest ones are subnormal only
// where they are 2^-29 of the largest.
static __device__ __forceinline__ float half_power(float most) { return power_above(most) * 3.0517578125e-5f; }

// A chunk that begins with row r has place r / 64 among what is made of chunks.
static __device__ __forceinline__ u16* halves_at(const StateSpaceParams& p, long long place, int group) {
  return p.chunkHalves + (place * (p.H / p.headsPerGroup) + group) * (2 * CHUNK * p.N);
}
static __device__ __forceinline__ float* products_at(const StateSpaceParams& p, long long place, int group) {
  return p.chunkProducts + (place * (p.H / p.headsPerGroup) + group) * SHARED_FLOATS;
}
static __device__ __forceinline__ float* steps_at(const StateSpaceParams& p, long long place, int h) {
  return p.chunkSteps + (place * p.H + h) * STEP_FLOATS;
}
// The first row of the chunk with a place, -1 where there is none: the chunk that has the last of 64 rows begins among them.
static __device__ __forceinline__ long long chunk_at(const StateSpaceParams& p, long long place) {
  const long long row = place * CHUNK + CHUNK - 1;
  const Chunks chunks = chunks_of(p, sequence_of(p.starts, p.sequences, (int)row));
  if (row < chunks.first || (row - chunks.first) / CHUNK >= chunks.count) return -1;
  return chunks.first + (row - chunks.first) / CHUNK * CHUNK;
}

// By how many rows the chunk with a place begins after the first of 64, and one more; 0 where there is none.
static __device__ __forceinline__ int* offset_at(const StateSpaceParams& p, long long place) {
  return (int*)products_at(p, place, 0) + TOKEN_TILES * 256 + 2;
}

// Rows of 16 of a chunk's matrix as the left operand, columns 16 k on.
template <int PIECES>
static __device__ __forceinline__ void load_left(u32* v, const uint4* rows, int row, int k) {
  const int lane = threadIdx.x % 32;
  load_matrices(v, rows + place<PIECES>(row + lane % 16, 2 * k + lane / 16));
}
// Sixteen rows as the right operand: their products with the left one's are columns of the result, v[0] and v[1] of the first eight.
template <int PIECES>
static __device__ __forceinline__ void load_right(u32* v, const uint4* rows, int row, int k) {
  const int lane = threadIdx.x % 32;
  load_matrices(v, rows + place<PIECES>(row + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
}
// Sixteen rows that are summed over: columns 8 * piece to 8 * piece + 15 as the right operand.
template <int PIECES>
static __device__ __forceinline__ void load_summed(u32* v, const uint4* rows, int row, int piece) {
  const int lane = threadIdx.x % 32;
  load_turned(v, rows + place<PIECES>(row + lane % 16, piece + lane / 16));
}
// Sixteen rows that are summed over, as the left operand.
template <int PIECES>
static __device__ __forceinline__ void load_summed_left(u32* v, const uint4* rows, int row, int piece) {
  const int lane = threadIdx.x % 32;
  load_turned(v, rows + place<PIECES>(row + lane % 8 + lane / 16 * 8, piece + lane / 8 % 2));
}

// Eight or four or two values of a row as float16.
template <int OWN>
static __device__ __forceinline__ void store_halves(u16* at, const float* v) {
  u32 words[OWN / 2];
#pragma unroll
  for (int i = 0; i < OWN; i += 2) words[i / 2] = floats_to_halves(v[i], v[i + 1]);
  if (OWN == 2) *(u32*)at = words[0];
  else if (OWN == 4) *(uint2*)at = make_uint2(words[0], words[1]);
  else *(uint4*)at = make_uint4(words[0], words[1], words[OWN / 2 - 2], words[OWN / 2 - 1]);
}

// A warp's steps and decays of a chunk of a head.
static __device__ __forceinline__ void chunk_steps(const StateSpaceParams& p, long long place, long long first, int h) {
  const int lane = threadIdx.x % 32;
  const float A = p.A.at[h * p.A.stride], bias = p.hasBias ? bias_of(p, h, 0) : 0.0f;
  float delta[2], a[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    delta[i] = delta_with(p, step_at(p, first + 2 * lane + i, h, 0), bias);
    a[i] = fminf(A * delta[i], 0.0f);
  }
  float sum = a[0] + a[1];
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const float before = __shfl_sync(ALL_LANES, sum, lane >= offset ? lane - offset : lane);
    if (lane >= offset) sum += before;
  }
  const float before = __shfl_sync(ALL_LANES, sum, lane > 0 ? lane - 1 : 0);
  a[0] += lane > 0 ? before : 0.0f;
  a[1] += a[0];
  const float last = __shfl_sync(ALL_LANES, a[1], 31);
  float toState[2], mostDelta = 0, mostToState = 0;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    toState[i] = delta[i] * expf(fminf(last - a[i], 0.0f));
    mostDelta = fmaxf(mostDelta, fabsf(delta[i])), mostToState = fmaxf(mostToState, fabsf(toState[i]));
  }
  const float ofOutput = power_above(warp_max(mostDelta)) * (1.0f / MOST_WEIGHT), ofState = power_above(warp_max(mostToState));
  const float share = inverse_of(ofState);
  // B and C were made 2^15 at most.
  const float inverse = inverse_of(ofOutput) * 9.31322574615478515625e-10f;
  float* to = steps_at(p, place, h);
  *(float2*)(to + 2 * lane) = make_float2(toState[0] * share, toState[1] * share);
  if (lane == 0) *(float4*)(to + CHUNK) = make_float4(ofState, ofOutput * 1073741824.0f, expf(last), 0.0f);
  *(float2*)(to + STATE_FLOATS + 2 * lane) = make_float2(expf(a[0]), expf(a[1]));
  *(float4*)(to + STATE_FLOATS + CHUNK + 4 * lane) = make_float4(a[0], delta[0] * inverse, a[1], delta[1] * inverse);
}

// A block has B and C of a group, of which a warp has four rows each and one of the tiles of C · B; blocks after those have heads.
template <int OWN>
static __device__ __forceinline__ void chunk_rows(const StateSpaceParams& p) {
  const int N = 32 * OWN, PIECES = N / 8, ROWS = CHUNK / 16;
  SHARED_BY_LAUNCH(shared);
  __shared__ float mostOf[2][16];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = blockIdx.y;
  const long long first = chunk_at(p, blockIdx.x);
  if (group == 0 && threadIdx.x == 0) *offset_at(p, blockIdx.x) = first < 0 ? 0 : (int)(first - (long long)CHUNK * blockIdx.x) + 1;
  if (first < 0) return;
  if (group >= p.H / p.headsPerGroup) {
    const int h = 16 * (group - p.H / p.headsPerGroup) + warp;
    if (h < p.H) chunk_steps(p, blockIdx.x, first, h);
    return;
  }
  u16* halves = halves_at(p, blockIdx.x, group);
  float* products = products_at(p, blockIdx.x, group);
  float own[2][ROWS][OWN];
#pragma unroll
  for (int i = 0; i < ROWS; i++) {
    const long long t = first + ROWS * warp + i;
    load_own<OWN>(p.B.at + t * p.B.stride + group * N, own[0][i]);
    load_own<OWN>(p.C.at + t * p.C.stride + group * N, own[1][i]);
  }
#pragma unroll
  for (int isC = 0; isC < 2; isC++) {
    float most = 0;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
#pragma unroll
      for (int j = 0; j < OWN; j++) most = fmaxf(most, fabsf(own[isC][i][j]));
    }
    most = warp_max(most);
    if (lane == 0) mostOf[isC][warp] = most;
  }
  __syncthreads();
#pragma unroll
  for (int isC = 0; isC < 2; isC++) {
    const float power = half_power(warp_max(mostOf[isC][lane % 16])), inverse = inverse_of(power);
    if (threadIdx.x == 0) products[TOKEN_TILES * 256 + isC] = power;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
      const int r = ROWS * warp + i;
#pragma unroll
      for (int j = 0; j < OWN; j++) own[isC][i][j] *= inverse;
      const int at = 8 * (isC * CHUNK * PIECES + place<PIECES>(r, OWN * lane / 8)) + OWN * lane % 8;
      store_halves<OWN>((u16*)shared + at, own[isC][i]);
      store_halves<OWN>(halves + at, own[isC][i]);
    }
  }
  __syncthreads();
  if (warp >= TOKEN_TILES) return;
  const int row = warp >= 6 ? 3 : warp >= 3 ? 2 : warp >= 1 ? 1 : 0, column = warp - row * (row + 1) / 2;
  float sums[2][4] = {};
#pragma unroll
  for (int k = 0; k < N / 16; k++) {
    u32 left[4], right[4];
    load_left<PIECES>(left, shared + CHUNK * PIECES, 16 * row, k);
    load_right<PIECES>(right, shared, 16 * column, k);
    multiply_halves(sums[0], left, right);
    multiply_halves(sums[1], left, right + 2);
  }
  float4* to = (float4*)(products + warp * 256 + lane * 8);
  to[0] = make_float4(sums[0][0], sums[0][1], sums[0][2], sums[0][3]);
  to[1] = make_float4(sums[1][0], sums[1][1], sums[1][2], sums[1][3]);
}

// Two neighbours of a state as a slot of any format has them.
static __device__ __forceinline__ float2 load_states(const StateSpaceParams& p, const float* states, long long at) {
  if (p.stateFormat == FLOAT32) return *(const float2*)(states + at);
  const u32 word = *(const u32*)((const u16*)states + at);
  if (p.stateFormat == FLOAT16) return make_float2(half_of_word<FLOAT16>(word & 0xffffu), half_of_word<FLOAT16>(word >> 16));
  return make_float2(half_of_word<BFLOAT16>(word & 0xffffu), half_of_word<BFLOAT16>(word >> 16));
}
static __device__ __forceinline__ void store_states(const StateSpaceParams& p, float* states, long long at, float low, float high) {
  if (p.stateFormat == FLOAT32) *(float2*)(states + at) = make_float2(low, high);
  else if (p.stateFormat == FLOAT16) *(u32*)((u16*)states + at) = word_of<FLOAT16>(low, high);
  else *(u32*)((u16*)states + at) = word_of<BFLOAT16>(low, high);
}

// Rounds a lane's part of a state as a token leaves it: of rows `row` and 8 further, columns `column`, the next one, and those that
// are 8 further.
template <int STATES, int TILES>
static __device__ __forceinline__ void round_states(
    const StateSpaceParams& p, float (*state)[4], int b, long long token, int row, int column) {
  if (!p.positions) {
#pragma unroll
    for (int i = 0; i < 2 * TILES; i++) {
      float* own = state[i / 2] + i % 2 * 2;
      const u32 word = nearest_word<STATES>(own[0], own[1]);
      own[0] = half_of_word<STATES>(word & 0xffffu), own[1] = half_of_word<STATES>(word >> 16);
    }
    return;
  }
  const u32 bits = token_bits(p, b, token), low = row_factor(p, bits, row), high = row_factor(p, bits, row + 8);
#pragma unroll
  for (int n = 0; n < TILES; n++) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const u32 factor = column_factor(column + 8 * n + i);
      state[n][i] = rounded<STATES>(state[n][i], low * factor, true);
      state[n][i + 2] = rounded<STATES>(state[n][i + 2], high * factor, true);
    }
  }
}

// Chunks whose x and B, and whose steps, are in shared memory or on their way there.
#define ROW_BUFFERS 3
#define STEP_BUFFERS 4

// Where a warp's part of a chunk's state lies: 16 channels of a block of CHANNELS, in the order in which chunk_outputs multiplies them,
// a piece of 16 bytes for each lane and 16 columns.
static __device__ __forceinline__ uint4* states_at(const StateSpaceParams& p, long long place, int h, int block, int part) {
  return (uint4*)p.chunkStates + (((place * p.H + h) * (p.P / CHANNELS) + block) * 2 + part) * (2 * p.N);
}
// What x and the state of a block's channels were divided by.
static __device__ __forceinline__ float2* powers_at(const StateSpaceParams& p, long long place, int h, int block) {
  return (float2*)p.chunkPowers + (place * p.H + h) * (p.P / CHANNELS) + block;
}

// A block has CHANNELS of a head, and takes chunk after chunk. A warp has 16 channels and a quarter of the columns, TILES times 8.
// While it multiplies for a chunk, it makes float16 of the next one's x, and later ones are on their way.
template <int OWN>
static __device__ __forceinline__ void chunk_states(const StateSpaceParams& p) {
  const int N = 32 * OWN, PIECES = N / 8, TILES = OWN, X_PIECES = CHANNELS / 8, WARPS = 8, THREADS = 32 * WARPS;
  const int INPUTS = CHUNK * CHANNELS / 4;
  SHARED_BY_LAUNCH(shared);
  uint4* const rowsB = shared;
  uint4* const inputs = rowsB + ROW_BUFFERS * CHUNK * PIECES;
  uint4* const weightedX = inputs + ROW_BUFFERS * INPUTS;
  float* const steps = (float*)(weightedX + 2 * CHUNK * X_PIECES);
  float* const powers = steps + STEP_BUFFERS * STATE_FLOATS;
  // The largest magnitudes that each warp has, of x and of the state, of chunks with even and with odd numbers.
  float* const mostOfX = powers + ROW_BUFFERS * 4;
  float* const mostOfState = mostOfX + 2 * WARPS;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const int h = blockIdx.y, b = blockIdx.z, group = h / p.headsPerGroup;
  const Chunks chunks = chunks_of(p, b);
  if (chunks.count == 0) return;
  const int part = warp / 4, quarter = warp % 4;
  const long long column = (long long)h * p.P + CHANNELS * blockIdx.x, ownColumn = column + 16 * part;
  const bool hasPast = chunks.first > p.starts[b] || (p.hasInitialState && p.hasInitialState[b]);
  float* states = p.states + (p.slots ? p.slots[b] : b) * p.stateStride;
  const int firstColumn = 8 * TILES * quarter;
  const long long ownState = (ownColumn + g) * N + firstColumn + 2 * t;
  // A thread has four channels, from 4 q on, of every 32nd token.
  const int q = threadIdx.x % (CHANNELS / 4), ownRow = threadIdx.x / (CHANNELS / 4);
  // Instead of chunks after the last one, that is copied again.
  auto first_of = [&](int chunk) { return chunks.first + (long long)CHUNK * (chunk < chunks.count ? chunk : chunks.count - 1); };
  auto copy_inputs = [&](int chunk) {
    const long long first = first_of(chunk);
    uint4* to = inputs + chunk % ROW_BUFFERS * INPUTS + threadIdx.x;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      copy_early(to + THREADS * i, p.x.at + (first + ownRow + 32 * i) * p.x.stride + column + 4 * q, true);
    }
    if (threadIdx.x >= STATE_FLOATS / 4) return;
    uint4* toSteps = (uint4*)(steps + chunk % STEP_BUFFERS * STATE_FLOATS) + threadIdx.x;
    copy_early(toSteps, steps_at(p, first / CHUNK, h) + 4 * threadIdx.x, true);
  };
  auto copy_rows = [&](int chunk) {
    const long long place = first_of(chunk) / CHUNK;
    const uint4* from = (const uint4*)halves_at(p, place, group) + threadIdx.x;
    uint4* to = rowsB + chunk % ROW_BUFFERS * CHUNK * PIECES + threadIdx.x;
#pragma unroll
    for (int i = 0; i < CHUNK * PIECES / THREADS; i++) copy_early(to + THREADS * i, from + THREADS * i, true);
    if (threadIdx.x > 0) return;
    copy_early((uint4*)(powers + chunk % ROW_BUFFERS * 4), products_at(p, place, group) + TOKEN_TILES * 256, true);
  };
  copy_inputs(0);
  copy_inputs(1);
  copy_rows(0);
  group_copies();
  // Rows g and g + 8, columns 2 t and 2 t + 1 of 8.
  float state[TILES][4];
#pragma unroll
  for (int n = 0; n < TILES; n++) {
    const float2 low = hasPast ? load_states(p, states, ownState + 8 * n) : make_float2(0, 0);
    const float2 high = hasPast ? load_states(p, states, ownState + 8 * (N + n)) : make_float2(0, 0);
    state[n][0] = low.x, state[n][1] = low.y, state[n][2] = high.x, state[n][3] = high.y;
  }
  // Shows others the largest of what the thread has copied of a chunk's x, and of the state before a chunk.
  auto show_most = [&](int chunkOfX, int chunkOfState) {
    float x = 0, s = 0;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const float4 v = *(const float4*)(inputs + chunkOfX % ROW_BUFFERS * INPUTS + THREADS * i + threadIdx.x);
      x = fmaxf(x, fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w))));
    }
#pragma unroll
    for (int n = 0; n < TILES; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) s = fmaxf(s, fabsf(state[n][i]));
    }
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
      x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, offset));
      s = fmaxf(s, __shfl_xor_sync(ALL_LANES, s, offset));
    }
    if (lane == 0) mostOfX[chunkOfX % 2 * WARPS + warp] = x, mostOfState[chunkOfState % 2 * WARPS + warp] = s;
  };
  auto power_of = [&](const float* most) {
    const float4 v = *(const float4*)most, w = *(const float4*)(most + 4);
    return half_power(fmaxf(fmaxf(fmaxf(v.x, v.y), fmaxf(v.z, v.w)), fmaxf(fmaxf(w.x, w.y), fmaxf(w.z, w.w))));
  };
  wait_copies<0>();
  show_most(0, 0);
  __syncthreads();
  float powerOfX = 1;
  // Before the first chunk its x is made ready.
#pragma unroll 1
  for (int chunk = -1; chunk < chunks.count; chunk++) {
    const int next = chunk + 1;
    copy_inputs(chunk + 3);
    copy_rows(chunk + 2);
    group_copies();
    const float* stepsOfChunk = steps + (chunk & STEP_BUFFERS - 1) * STATE_FLOATS;
    if (chunk >= 0) {
      const long long place = first_of(chunk) / CHUNK;
      const float power = power_of(mostOfState + chunk % 2 * WARPS), inverse = inverse_of(power);
      uint4* to = states_at(p, place, h, blockIdx.x, part) + 16 * TILES * quarter + lane;
#pragma unroll
      for (int n = 0; n < TILES; n += 2) {
        const float *low = state[n], *high = state[n + 1];
        to[16 * n] = make_uint4(
            floats_to_halves(low[0] * inverse, low[1] * inverse), floats_to_halves(high[0] * inverse, high[1] * inverse),
            floats_to_halves(low[2] * inverse, low[3] * inverse), floats_to_halves(high[2] * inverse, high[3] * inverse));
      }
      if (threadIdx.x == 0) *powers_at(p, place, h, blockIdx.x) = make_float2(powerOfX, power);
      const float decay = stepsOfChunk[CHUNK + 2];
#pragma unroll
      for (int n = 0; n < TILES; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) state[n][i] *= decay;
      }
    }
    const float powerOfNext = power_of(mostOfX + next % 2 * WARPS), inverseOfNext = inverse_of(powerOfNext);
    const float* stepsOfNext = steps + next % STEP_BUFFERS * STATE_FLOATS;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int r = ownRow + 32 * i;
      const float4 x = *(const float4*)(inputs + next % ROW_BUFFERS * INPUTS + THREADS * i + threadIdx.x);
      const float weight = stepsOfNext[r];
      const float weighted[4] = {
          x.x * inverseOfNext * weight, x.y * inverseOfNext * weight, x.z * inverseOfNext * weight, x.w * inverseOfNext * weight};
      store_halves<4>((u16*)(weightedX + next % 2 * CHUNK * X_PIECES) + 8 * place<X_PIECES>(r, q / 2) + q % 2 * 4, weighted);
    }
    if (chunk >= 0) {
      const uint4* x = weightedX + chunk % 2 * CHUNK * X_PIECES;
      const uint4* B = rowsB + chunk % ROW_BUFFERS * CHUNK * PIECES;
      const float powerOfSum = powers[chunk % ROW_BUFFERS * 4] * powerOfX * stepsOfChunk[CHUNK];
      u32 added[4][4];
#pragma unroll
      for (int s = 0; s < 4; s++) load_summed_left<X_PIECES>(added[s], x, 16 * s, 2 * part);
#pragma unroll
      for (int n = 0; n < TILES; n += 2) {
        float sums[2][4] = {};
#pragma unroll
        for (int s = 0; s < 4; s++) {
          u32 right[4];
          load_summed<PIECES>(right, B, 16 * s, TILES * quarter + n);
          multiply_halves(sums[0], added[s], right);
          multiply_halves(sums[1], added[s], right + 2);
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
          state[n][i] = fmaf(powerOfSum, sums[0][i], state[n][i]);
          state[n + 1][i] = fmaf(powerOfSum, sums[1][i], state[n + 1][i]);
        }
      }
      const long long token = first_of(chunk) + CHUNK - 1 - p.starts[b];
      if (p.stateFormat == FLOAT16) round_states<FLOAT16, TILES>(p, state, b, token, (int)ownColumn + g, firstColumn + 2 * t);
      else if (p.stateFormat == BFLOAT16) round_states<BFLOAT16, TILES>(p, state, b, token, (int)ownColumn + g, firstColumn + 2 * t);
    }
    powerOfX = powerOfNext;
    // All but what this turn has begun to copy.
    wait_copies<1>();
    show_most(next + 1, next);
    __syncthreads();
  }
  wait_copies<0>();
#pragma unroll
  for (int n = 0; n < TILES; n++) {
    store_states(p, states, ownState + 8 * n, state[n][0], state[n][1]);
    store_states(p, states, ownState + 8 * (N + n), state[n][2], state[n][3]);
  }
}

// A block has a head's outputs of a chunk, and a warp 16 tokens and 16 channels of CHANNELS at a time. All that it needs is on its way
// at once.
template <int OWN>
static __device__ __forceinline__ void chunk_outputs(const StateSpaceParams& p) {
  const int N = 32 * OWN, PIECES = N / 8, X_PIECES = CHANNELS / 8, THREADS = 256, INPUTS = CHUNK * CHANNELS / 4;
  SHARED_BY_LAUNCH(shared);
  const int blocks = p.P / CHANNELS;
  uint4* const C = shared;
  uint4* const states = C + CHUNK * PIECES;
  uint4* const inputs = states + blocks * 4 * N;
  uint4* const plainX = inputs + blocks * INPUTS;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const long long chunk = blockIdx.x;
  const int h = blockIdx.y, group = h / p.headsPerGroup, part = warp / 4, tile = warp % 4;
  const int offset = *offset_at(p, chunk);
  if (offset == 0) return;
  const long long first = CHUNK * chunk + offset - 1;
  // A thread has four channels, from 4 q on, of every 32nd token. Pieces of a row are exchanged against conflicts of banks.
  const int q = threadIdx.x % (CHANNELS / 4), ownRow = threadIdx.x / (CHANNELS / 4);
  uint4* const own = inputs + ownRow * (CHANNELS / 4) + (q ^ ownRow % 8);
  for (int i = 0; i < 2 * blocks; i++) {
    const long long row = first + ownRow + 32 * (i % 2), column = (long long)h * p.P + CHANNELS * (i / 2) + 4 * q;
    copy_early(own + INPUTS / 2 * i, p.x.at + row * p.x.stride + column, true);
  }
  const uint4* from = (const uint4*)halves_at(p, chunk, group) + CHUNK * PIECES + threadIdx.x;
#pragma unroll
  for (int i = 0; i < CHUNK * PIECES / THREADS; i++) copy_early(C + threadIdx.x + THREADS * i, from + THREADS * i, true);
  const uint4* fromStates = states_at(p, chunk, h, 0, 0);
  for (int i = threadIdx.x; i < blocks * 4 * N; i += THREADS) copy_early(states + i, fromStates + i, true);
  group_copies();
  const float* steps = steps_at(p, chunk, h);
  const float* products = products_at(p, chunk, group);
  const float powerB = products[TOKEN_TILES * 256], powerC = products[TOKEN_TILES * 256 + 1], powerOfWeights = steps[CHUNK + 1];
  const float* decaysOf = steps + STATE_FLOATS + 16 * tile + g;
  const float decays[2] = {decaysOf[0], decaysOf[8]};
  // Weights of the tokens up to the warp's own; those after them are zero.
  const float* sums = steps + STATE_FLOATS + CHUNK;
  const float low = sums[2 * (16 * tile + g)], high = sums[2 * (16 * tile + g + 8)];
  u32 weights[4][4] = {};
#pragma unroll
  for (int j = 0; j < 4; j++) {
    if (j > tile) continue;
    const float4* v = (const float4*)(products + (tile * (tile + 1) / 2 + j) * 256) + 2 * lane;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const float4 product = v[half], step = *(const float4*)(sums + 2 * (16 * j + 8 * half + 2 * t));
      const float a[2] = {step.x, step.z}, weight[2] = {step.y, step.w};
      float lowValues[2] = {product.x, product.y}, highValues[2] = {product.z, product.w};
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int own = 8 * half + 2 * t + i;
        lowValues[i] *= weight[i] * exp_of_16_bits(fminf(low - a[i], 0.0f));
        highValues[i] *= weight[i] * exp_of_16_bits(fminf(high - a[i], 0.0f));
        if (j == tile && own > g) lowValues[i] = 0;
        if (j == tile && own > g + 8) highValues[i] = 0;
      }
      weights[j][2 * half] = floats_to_halves(lowValues[0], lowValues[1]);
      weights[j][2 * half + 1] = floats_to_halves(highValues[0], highValues[1]);
    }
  }
  wait_copies<0>();
  for (int i = 0; i < 2 * blocks; i++) {
    const float inverse = inverse_of(powers_at(p, chunk, h, i / 2)->x);
    const float4 x = *(const float4*)(own + INPUTS / 2 * i);
    const float plain[4] = {x.x * inverse, x.y * inverse, x.z * inverse, x.w * inverse};
    u16* to = (u16*)(plainX + i / 2 * CHUNK * X_PIECES);
    store_halves<4>(to + 8 * place<X_PIECES>(ownRow + 32 * (i % 2), q / 2) + q % 2 * 4, plain);
  }
  __syncthreads();
  const long long rowLow = first + 16 * tile + g, rowHigh = rowLow + 8;
#pragma unroll 1
  for (int block = 0; block < blocks; block++) {
    const int channel = CHANNELS * block + 16 * part;
    const long long ownColumn = (long long)h * p.P + channel;
    const uint4* ownStates = states + (2 * block + part) * (2 * N) + lane;
    const float* x = (const float*)(inputs + block * INPUTS);
    const float2 power = *powers_at(p, chunk, h, block);
    float2 skipped[2][2];
    float D[2][2];
#pragma unroll
    for (int n = 0; n < 2; n++) {
#pragma unroll
      for (int high = 0; high < 2; high++) {
        const int row = 16 * tile + g + 8 * high, piece = 4 * part + 2 * n + t / 2;
        skipped[n][high] = *(const float2*)(x + CHANNELS * row + 4 * (piece ^ row % 8) + t % 2 * 2);
      }
#pragma unroll
      for (int i = 0; i < 2; i++) D[n][i] = skip_of(p, h, channel + 8 * n + 2 * t + i);
    }
    float fromState[2][4] = {}, fromTokens[2][4] = {};
#pragma unroll
    for (int j = 0; j < 4; j++) {
      u32 right[4];
      load_summed<X_PIECES>(right, plainX + block * CHUNK * X_PIECES, 16 * j, 2 * part);
      multiply_halves(fromTokens[0], weights[j], right);
      multiply_halves(fromTokens[1], weights[j], right + 2);
    }
#pragma unroll
    for (int k = 0; k < N / 16; k++) {
      u32 c[4];
      load_left<PIECES>(c, C, 16 * tile, k);
      const uint4 v = ownStates[32 * k];
      const u32 right[4] = {v.x, v.y, v.z, v.w};
      multiply_halves(fromState[0], c, right);
      multiply_halves(fromState[1], c, right + 2);
    }
    const float ofTokens = powerC * powerB * power.x * powerOfWeights;
    const float ofState[2] = {powerC * power.y * decays[0], powerC * power.y * decays[1]};
    // Outputs of columns 8 n + 2 t and the next one, of the two rows.
    float2 y[2][2];
#pragma unroll
    for (int n = 0; n < 2; n++) {
#pragma unroll
      for (int high = 0; high < 2; high++) {
        const float* state = fromState[n] + 2 * high;
        const float* tokens = fromTokens[n] + 2 * high;
        const float2 skip = skipped[n][high];
        y[n][high].x = fmaf(D[n][0], skip.x, fmaf(ofState[high], state[0], __fmul_rn(ofTokens, tokens[0])));
        y[n][high].y = fmaf(D[n][1], skip.y, fmaf(ofState[high], state[1], __fmul_rn(ofTokens, tokens[1])));
      }
    }
    if (p.hasZ) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const long long row = i % 2 ? rowHigh : rowLow;
        const float2 z = *(const float2*)(p.z.at + row * p.z.stride + ownColumn + 8 * (i / 2) + 2 * t);
        y[i / 2][i % 2].x *= silu(z.x), y[i / 2][i % 2].y *= silu(z.y);
      }
    }
#pragma unroll
    for (int n = 0; n < 2; n++) {
      *(float2*)(p.out.at + rowLow * p.out.stride + ownColumn + 8 * n + 2 * t) = y[n][0];
      *(float2*)(p.out.at + rowHigh * p.out.stride + ownColumn + 8 * n + 2 * t) = y[n][1];
    }
  }
}

// B, C (rows, G*N) to chunkHalves (chunks, G, 2, 64, N) and chunkProducts (chunks, G, 2564), and dt (rows, H) and A (H) to chunkSteps
// (chunks, H, 260). Grid: (rows / 64, G + H / 16), blocks of 512. Shared memory: B and C of a chunk in float16.
extern "C" __global__ void __launch_bounds__(512) chunk_rows_64(const StateSpaceParams p) { chunk_rows<2>(p); }
extern "C" __global__ void __launch_bounds__(512) chunk_rows_128(const StateSpaceParams p) { chunk_rows<4>(p); }
extern "C" __global__ void __launch_bounds__(512) chunk_rows_256(const StateSpaceParams p) { chunk_rows<8>(p); }

// Makes the state (slots, H, P, N) after the last whole chunk of x (rows, H*P), and of each chunk the one before it, chunkStates
// (chunks, H, P / 32, 2, N / 16, 32, 8) in float16, with chunkPowers (chunks, H, P / 32, 2). Grid: (P / 32, H, sequences), blocks of 256.
// Shared memory: B of three chunks in float16, x of three in float32 and of two in float16, and floats.
extern "C" __global__ void __launch_bounds__(256, 2) chunk_states_64(const StateSpaceParams p) { chunk_states<2>(p); }
extern "C" __global__ void __launch_bounds__(256, 2) chunk_states_128(const StateSpaceParams p) { chunk_states<4>(p); }
extern "C" __global__ void __launch_bounds__(256) chunk_states_256(const StateSpaceParams p) { chunk_states<8>(p); }

// Makes the outputs (rows, H*P) of whole chunks, of all these and of x, z and D. Grid: (rows / 64, H), blocks of 256. Shared memory: C
// of a chunk and a head's state in float16, and its x in float32 and in float16.
extern "C" __global__ void __launch_bounds__(256, 4) chunk_outputs_64(const StateSpaceParams p) { chunk_outputs<2>(p); }
extern "C" __global__ void __launch_bounds__(256, 4) chunk_outputs_128(const StateSpaceParams p) { chunk_outputs<4>(p); }
extern "C" __global__ void __launch_bounds__(256, 3) chunk_outputs_256(const StateSpaceParams p) { chunk_outputs<8>(p); }
