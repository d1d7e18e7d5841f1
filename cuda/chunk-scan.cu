// Prompts by chunks of 64 tokens on tensor cores: the SSD form of Mamba-2 (arXiv:2405.21060, section 6) of the recurrence in
// state-space.cuh, with float32 sums of products of float16. Within a chunk, with a_t = Σ_{s ≤ t} min(A Δ_s, 0):
//
//   y_t = exp(a_t) S C_t + Σ_{s ≤ t} exp(a_t - a_s) Δ_s (C_t · B_s) x_s
//   S ← exp(a_last) S + Σ_s exp(a_last - a_s) Δ_s x_s ⊗ B_s
//
// chunk_rows_* makes what all heads of a group share: B and C in float16, and C · B. chunk_weights makes what a head multiplies x
// with. chunk_scan_* goes through a sequence's chunks one after another, with the state in float32 in its registers. Whatever
// becomes float16 is divided by a power of two first, so that nothing overflows: B and C of a chunk, and x of a chunk and the
// state of a block's channels.
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
// Floats of a chunk and a group: eight of each lane for each tile of C · B, what B and C were divided by, and two more.
#define SHARED_FLOATS (TOKEN_TILES * 256 + 4)
// Floats of a chunk and a head: of each token the weight of x for the state and the decay from before the chunk on; what weights
// for the state and for the outputs were divided by, the decay over the chunk, and one more.
#define STEP_FLOATS (2 * CHUNK + 4)

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
static __device__ __forceinline__ uint4* weights_at(const StateSpaceParams& p, long long place, int h) {
  return (uint4*)p.chunkWeights + (place * p.H + h) * (TOKEN_TILES * 32);
}
// The first row of the chunk with a place, -1 where there is none: the chunk that has the last of 64 rows begins among them.
static __device__ __forceinline__ long long chunk_at(const StateSpaceParams& p, long long place) {
  const long long row = place * CHUNK + CHUNK - 1;
  const Chunks chunks = chunks_of(p, sequence_of(p.starts, p.sequences, (int)row));
  if (row < chunks.first || (row - chunks.first) / CHUNK >= chunks.count) return -1;
  return chunks.first + (row - chunks.first) / CHUNK * CHUNK;
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

// A warp has four rows of B and of C, and one of the tiles of C · B.
template <int OWN>
static __device__ __forceinline__ void chunk_rows(const StateSpaceParams& p) {
  const int N = 32 * OWN, PIECES = N / 8, ROWS = CHUNK / 16;
  SHARED_BY_LAUNCH(shared);
  __shared__ float mostOf[2][16];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = blockIdx.y;
  const long long first = chunk_at(p, blockIdx.x);
  if (first < 0) return;
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

// A block has CHANNELS of a head, and a warp for each 16 of them and each 16 tokens.
template <int OWN>
static __device__ __forceinline__ void chunk_scan(const StateSpaceParams& p) {
  // A warp has 16 channels: outputs of 16 tokens, and of the state a quarter of the columns, TILES times 8.
  const int N = 32 * OWN, PIECES = N / 8, TILES = OWN, X_PIECES = CHANNELS / 8, WARPS = 8, THREADS = 32 * WARPS;
  SHARED_BY_LAUNCH(shared);
  uint4* const rowsB = shared;
  uint4* const rowsC = rowsB + 2 * CHUNK * PIECES;
  uint4* const plainX = rowsC + 2 * CHUNK * PIECES;
  uint4* const weightedX = plainX + CHUNK * X_PIECES;
  uint4* const stateRows = weightedX + CHUNK * X_PIECES;
  float* const steps = (float*)(stateRows + CHANNELS * PIECES);
  float* const powers = steps + 2 * STEP_FLOATS;
  // The largest magnitudes that each warp has, of x and of the state.
  float2* const mostOf = (float2*)(powers + 2 * 4);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const int h = blockIdx.y, b = blockIdx.z, group = h / p.headsPerGroup;
  const Chunks chunks = chunks_of(p, b);
  if (chunks.count == 0) return;
  const int part = warp / 4, quarter = warp % 4;
  // The more tokens before a warp's own, the more it has to do: warps that share a scheduler have many and few.
  const int tile = part % 2 ? 3 - quarter : quarter;
  const long long column = (long long)h * p.P + CHANNELS * blockIdx.x, ownColumn = column + 16 * part;
  const bool hasPast = chunks.first > p.starts[b] || (p.hasInitialState && p.hasInitialState[b]);
  float* states = p.states + (p.slots ? p.slots[b] : b) * p.stateStride;
  const int firstColumn = 8 * TILES * quarter;
  const long long ownState = (ownColumn + g) * N + firstColumn + 2 * t;
  // Rows g and g + 8, columns 2 t and 2 t + 1 of 8.
  float state[TILES][4];
#pragma unroll
  for (int n = 0; n < TILES; n++) {
    const float2 low = hasPast ? load_states(p, states, ownState + 8 * n) : make_float2(0, 0);
    const float2 high = hasPast ? load_states(p, states, ownState + 8 * (N + n)) : make_float2(0, 0);
    state[n][0] = low.x, state[n][1] = low.y, state[n][2] = high.x, state[n][3] = high.y;
  }
  float D[2][2];
#pragma unroll
  for (int n = 0; n < 2; n++) {
#pragma unroll
    for (int i = 0; i < 2; i++) D[n][i] = skip_of(p, h, CHANNELS * blockIdx.x + 16 * part + 8 * n + 2 * t + i);
  }
  // A thread has four channels, from 4 q on, of every 32nd token.
  const int q = threadIdx.x % (CHANNELS / 4), ownRow = threadIdx.x / (CHANNELS / 4);
  float4 x[2];
  uint4 weights[4];
  auto load_x = [&](long long first) {
#pragma unroll
    for (int i = 0; i < 2; i++) x[i] = *(const float4*)(p.x.at + (first + ownRow + 32 * i) * p.x.stride + column + 4 * q);
  };
  // Weights of the warp's tokens, those after them zero.
  auto load_weights = [&](long long first) {
    const uint4* from = weights_at(p, first / CHUNK, h) + tile * (tile + 1) / 2 * 32 + lane;
#pragma unroll
    for (int j = 0; j < 4; j++) weights[j] = j <= tile ? from[32 * j] : make_uint4(0, 0, 0, 0);
  };
  auto copy = [&](long long first, int buffer) {
    const uint4* from = (const uint4*)halves_at(p, first / CHUNK, group) + threadIdx.x;
    uint4* toB = rowsB + buffer * CHUNK * PIECES + threadIdx.x;
    uint4* toC = rowsC + buffer * CHUNK * PIECES + threadIdx.x;
#pragma unroll
    for (int i = 0; i < CHUNK * PIECES / THREADS; i++) {
      copy_early(toB + THREADS * i, from + THREADS * i, true);
      copy_early(toC + THREADS * i, from + CHUNK * PIECES + THREADS * i, true);
    }
    const int at = threadIdx.x;
    if (at <= STEP_FLOATS / 4) {
      const bool isStep = at < STEP_FLOATS / 4;
      const float* ofGroup = products_at(p, first / CHUNK, group) + TOKEN_TILES * 256;
      float* to = isStep ? steps + buffer * STEP_FLOATS + 4 * at : powers + 4 * buffer;
      copy_early((uint4*)to, isStep ? steps_at(p, first / CHUNK, h) + 4 * at : ofGroup, true);
    }
    group_copies();
  };
  const long long lastChunk = chunks.first + (long long)CHUNK * (chunks.count - 1);
  copy(chunks.first, 0);
  load_x(chunks.first);
  load_weights(chunks.first);
  int buffer = 0;
#pragma unroll 1
  for (long long first = chunks.first; first <= lastChunk; first += CHUNK, buffer ^= 1) {
    // What the next chunk needs is on its way meanwhile. The last one loads its own again: behind a condition no load would be
    // moved.
    const long long next = first < lastChunk ? first + CHUNK : first;
    float mostOfState = 0, mostOfX = 0;
#pragma unroll
    for (int n = 0; n < TILES; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) mostOfState = fmaxf(mostOfState, fabsf(state[n][i]));
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
      mostOfX = fmaxf(mostOfX, fmaxf(fmaxf(fabsf(x[i].x), fabsf(x[i].y)), fmaxf(fabsf(x[i].z), fabsf(x[i].w))));
    }
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
      mostOfState = fmaxf(mostOfState, __shfl_xor_sync(ALL_LANES, mostOfState, offset));
      mostOfX = fmaxf(mostOfX, __shfl_xor_sync(ALL_LANES, mostOfX, offset));
    }
    if (lane == 0) mostOf[warp] = make_float2(mostOfX, mostOfState);
    wait_copies<0>();
    __syncthreads();
    copy(next, buffer ^ 1);
    const float* stepsOfChunk = steps + buffer * STEP_FLOATS;
#pragma unroll
    for (int i = 0; i < WARPS; i += 2) {
      const float4 both = *(const float4*)(mostOf + i);
      mostOfX = fmaxf(mostOfX, fmaxf(both.x, both.z)), mostOfState = fmaxf(mostOfState, fmaxf(both.y, both.w));
    }
    const float powerOfX = half_power(mostOfX), powerOfState = half_power(mostOfState);
    const float inverseOfX = inverse_of(powerOfX), inverseOfState = inverse_of(powerOfState);
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int r = ownRow + 32 * i;
      const float weight = stepsOfChunk[2 * r];
      const float plain[4] = {x[i].x * inverseOfX, x[i].y * inverseOfX, x[i].z * inverseOfX, x[i].w * inverseOfX};
      const float weighted[4] = {plain[0] * weight, plain[1] * weight, plain[2] * weight, plain[3] * weight};
      const int at = 8 * place<X_PIECES>(r, q / 2) + q % 2 * 4;
      store_halves<4>((u16*)plainX + at, plain);
      store_halves<4>((u16*)weightedX + at, weighted);
    }
    load_x(next);
    const float decay = stepsOfChunk[2 * CHUNK + 2];
#pragma unroll
    for (int n = 0; n < TILES; n++) {
      float* own = state[n];
      const int r = 16 * part + g, piece = TILES * quarter + n;
      *((u32*)(stateRows + place<PIECES>(r, piece)) + t) = floats_to_halves(own[0] * inverseOfState, own[1] * inverseOfState);
      *((u32*)(stateRows + place<PIECES>(r + 8, piece)) + t) = floats_to_halves(own[2] * inverseOfState, own[3] * inverseOfState);
#pragma unroll
      for (int i = 0; i < 4; i++) own[i] *= decay;
    }
    __syncthreads();
    const uint4* B = rowsB + buffer * CHUNK * PIECES;
    const uint4* C = rowsC + buffer * CHUNK * PIECES;
    const long long rowLow = first + 16 * tile + g, rowHigh = rowLow + 8;
    float2 skipped[2][2];
#pragma unroll
    for (int n = 0; n < 2; n++) {
      skipped[n][0] = *(const float2*)(p.x.at + rowLow * p.x.stride + ownColumn + 8 * n + 2 * t);
      skipped[n][1] = *(const float2*)(p.x.at + rowHigh * p.x.stride + ownColumn + 8 * n + 2 * t);
    }
    const float powerB = powers[4 * buffer], powerC = powers[4 * buffer + 1];
    const float powerOfSum = powerB * powerOfX * stepsOfChunk[2 * CHUNK];
    float fromState[2][4] = {}, fromTokens[2][4] = {};
    u32 added[4][4];
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const u32 left[4] = {weights[j].x, weights[j].y, weights[j].z, weights[j].w};
      u32 right[4];
      load_summed<X_PIECES>(right, plainX, 16 * j, 2 * part);
      multiply_halves(fromTokens[0], left, right);
      multiply_halves(fromTokens[1], left, right + 2);
      load_summed_left<X_PIECES>(added[j], weightedX, 16 * j, 2 * part);
    }
    load_weights(next);
    // Products with the state and those for it take turns, as neither waits for the other.
    float sums[2][4];
#pragma unroll
    for (int k = 0; k < N / 16; k++) {
      u32 c[4], right[4], rightB[4];
      const int s = k % 4, n = k / 4 * 2;
      load_left<PIECES>(c, C, 16 * tile, k);
      load_right<PIECES>(right, stateRows, 16 * part, k);
      load_summed<PIECES>(rightB, B, 16 * s, TILES * quarter + n);
      multiply_halves(fromState[0], c, right);
      multiply_halves(fromState[1], c, right + 2);
#pragma unroll
      for (int i = 0; i < 4; i++) {
        if (s == 0) sums[0][i] = 0, sums[1][i] = 0;
      }
      multiply_halves(sums[0], added[s], rightB);
      multiply_halves(sums[1], added[s], rightB + 2);
#pragma unroll
      for (int i = 0; i < 4; i++) {
        if (s < 3) continue;
        state[n][i] = fmaf(powerOfSum, sums[0][i], state[n][i]);
        state[n + 1][i] = fmaf(powerOfSum, sums[1][i], state[n + 1][i]);
      }
    }
    const float ofTokens = powerC * powerB * powerOfX * stepsOfChunk[2 * CHUNK + 1];
    const float ofState[2] = {
        powerC * powerOfState * stepsOfChunk[2 * (16 * tile + g) + 1],
        powerC * powerOfState * stepsOfChunk[2 * (16 * tile + g + 8) + 1],
    };
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
    const long long token = first + CHUNK - 1 - p.starts[b];
    if (p.stateFormat == FLOAT16) round_states<FLOAT16, TILES>(p, state, b, token, (int)ownColumn + g, firstColumn + 2 * t);
    else if (p.stateFormat == BFLOAT16) round_states<BFLOAT16, TILES>(p, state, b, token, (int)ownColumn + g, firstColumn + 2 * t);
  }
  wait_copies<0>();
#pragma unroll
  for (int n = 0; n < TILES; n++) {
    store_states(p, states, ownState + 8 * n, state[n][0], state[n][1]);
    store_states(p, states, ownState + 8 * (N + n), state[n][2], state[n][3]);
  }
}

// B, C (rows, G*N) to chunkHalves (chunks, G, 2, 64, N) and chunkProducts (chunks, G, 2564). Grid: (rows / 64, G), blocks of 512.
// Shared memory: B and C of a chunk in float16.
extern "C" __global__ void __launch_bounds__(512) chunk_rows_64(const StateSpaceParams p) { chunk_rows<2>(p); }
extern "C" __global__ void __launch_bounds__(512) chunk_rows_128(const StateSpaceParams p) { chunk_rows<4>(p); }
extern "C" __global__ void __launch_bounds__(512) chunk_rows_256(const StateSpaceParams p) { chunk_rows<8>(p); }

// Makes chunkWeights (chunks, H, 10, 32, 8) in float16 and chunkSteps (chunks, H, 132) of chunkProducts, dt (rows, H) and A (H).
// Grid: (rows / 64, H / 4), blocks of 128: a warp has a head.
extern "C" __global__ void __launch_bounds__(128) chunk_weights(const StateSpaceParams p) {
  __shared__ float2 stepsOfWarps[4][CHUNK];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const int h = 4 * blockIdx.y + warp;
  const long long first = chunk_at(p, blockIdx.x);
  if (first < 0 || h >= p.H) return;
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
  float* to = steps_at(p, blockIdx.x, h);
  const float share = inverse_of(ofState);
  *(float4*)(to + 4 * lane) = make_float4(toState[0] * share, expf(a[0]), toState[1] * share, expf(a[1]));
  // B and C were made 2^15 at most.
  if (lane == 0) *(float4*)(to + 2 * CHUNK) = make_float4(ofState, ofOutput * 1073741824.0f, expf(last), 0.0f);
  float2* steps = stepsOfWarps[warp];
  const float inverse = inverse_of(ofOutput) * 9.31322574615478515625e-10f;
  steps[2 * lane] = make_float2(a[0], delta[0] * inverse), steps[2 * lane + 1] = make_float2(a[1], delta[1] * inverse);
  __syncwarp();
  const float4* products = (const float4*)products_at(p, blockIdx.x, h / p.headsPerGroup) + 2 * lane;
  uint4* weights = weights_at(p, blockIdx.x, h) + lane;
#pragma unroll
  for (int row = 0; row < 4; row++) {
    const float low = steps[16 * row + g].x, high = steps[16 * row + g + 8].x;
#pragma unroll
    for (int column = 0; column <= row; column++) {
      const int tile = row * (row + 1) / 2 + column;
      u32 words[4];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const float4 v = products[64 * tile + half];
        float lowValues[2] = {v.x, v.y}, highValues[2] = {v.z, v.w};
#pragma unroll
        for (int i = 0; i < 2; i++) {
          const int own = 8 * half + 2 * t + i;
          const float2 step = steps[16 * column + own];
          lowValues[i] *= step.y * exp_of_16_bits(fminf(low - step.x, 0.0f));
          highValues[i] *= step.y * exp_of_16_bits(fminf(high - step.x, 0.0f));
          if (column == row && own > g) lowValues[i] = 0;
          if (column == row && own > g + 8) highValues[i] = 0;
        }
        words[2 * half] = floats_to_halves(lowValues[0], lowValues[1]);
        words[2 * half + 1] = floats_to_halves(highValues[0], highValues[1]);
      }
      weights[32 * tile] = make_uint4(words[0], words[1], words[2], words[3]);
    }
  }
}

// Makes the outputs (rows, H*P) of whole chunks, and the state (slots, H, P, N) after the last, of all these and of x, z and D.
// Grid: (P / 32, H, sequences), blocks of 256. Shared memory: B and C of two chunks, x twice and a state in float16, and floats.
extern "C" __global__ void __launch_bounds__(256, 2) chunk_scan_64(const StateSpaceParams p) { chunk_scan<2>(p); }
extern "C" __global__ void __launch_bounds__(256, 2) chunk_scan_128(const StateSpaceParams p) { chunk_scan<4>(p); }
extern "C" __global__ void __launch_bounds__(256) chunk_scan_256(const StateSpaceParams p) { chunk_scan<8>(p); }
