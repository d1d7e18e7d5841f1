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

enum StateFormat { FLOAT32, FLOAT16, BFLOAT16 };

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
  int stateKey;
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

static __device__ __forceinline__ float delta_at(const StateSpaceParams& p, long long t, int h, int c) {
  float v = p.dt.at[t * p.dt.stride + h * p.dtHead + c * p.dtChannel];
  if (p.hasBias) v += p.dtBias.at[h * p.dtBias.stride + c * p.biasChannel];
  if (p.isSoftplus) v = softplus(v);
  return fminf(p.dtHigh, fmaxf(p.dtLow, v));
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
  return p.positions ? mixed(token + (u32)row * 0x85ebca6bu) | 1 : 0;
}
static __device__ __forceinline__ u32 column_factor(int column) { return mixed((u32)column + 0xc2b2ae35u) | 1; }

// A state as one of STATES has it, still as float32: the nearest, or one of the two next to it as random bits say, which are
// 0 where they are not asked for.
template <int STATES>
static __device__ __forceinline__ float rounded(float v, u32 bits, bool isRandom) {
  const u32 word = __float_as_uint(v);
  if (STATES == BFLOAT16) {
    return bits_to_float((word + (isRandom ? bits >> 16 : 0x7fffu + ((word >> 16) & 1))) & 0xffff0000u);
  }
  // Of a step, a little less than half is added at most. A sum with `large` has neighbours that are a step away.
  const float power = fmaxf(bits_to_float(word & 0x7f800000u), 6.103515625e-5f);
  const float large = power * 12288.0f;
  v = fmaf((float)(int)bits, power * 2.273181642920008e-13f, v) + large - large;
  return fmaxf(-65504.0f, fminf(65504.0f, v));
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

static __device__ __forceinline__ float with_skip_and_gate(
    const StateSpaceParams& p, float y, float x, long long t, int h, int c) {
  if (p.hasD) y = fmaf(p.D.at[h * p.D.stride + c * p.dChannel], x, y);
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

template <int OWN, int STATES>
static __device__ __forceinline__ void store_short(u16* row, const float* own) {
  u32* at = (u32*)row + OWN / 2 * (threadIdx.x % 32);
  u32 words[4];
#pragma unroll
  for (int i = 0; i < OWN; i += 2) words[i / 2] = word_of<STATES>(own[i], own[i + 1]);
  if (OWN == 2) *at = words[0];
  else if (OWN == 4) *(uint2*)at = make_uint2(words[0], words[1]);
  else *(uint4*)at = make_uint4(words[0], words[1], words[2], words[3]);
}

// Rounds a lane's part of a row: `factor` is the row's, `columns` the lane's.
template <int OWN, int STATES>
static __device__ __forceinline__ void round_own(float* own, u32 factor, const u32* columns, bool isRandom) {
#pragma unroll
  for (int i = 0; i < OWN; i++) own[i] = rounded<STATES>(own[i], factor * columns[i], isRandom);
}

template <int OWN>
static __device__ __forceinline__ void load_columns(const StateSpaceParams& p, u32* columns) {
#pragma unroll
  for (int i = 0; i < OWN; i++) columns[i] = p.positions ? column_factor(OWN * (threadIdx.x % 32) + i) : 0;
}

template <int OWN>
static __device__ __forceinline__ void load_unaligned(const float* row, float* own) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < OWN; i++) own[i] = row[OWN * lane + i];
}

// One step of the rows of the state that a warp has: 4 rows at a time, whose loads are on their way together.
template <int OWN, int STATES>
static __device__ __forceinline__ void state_update(const StateSpaceParams& p) {
  const int parts = (p.P + 15) / 16;
  const int part = blockIdx.x % parts;
  const long long t = blockIdx.x / parts;
  const int h = blockIdx.y;
  const int first = 16 * part + 4 * (threadIdx.x / 32);
  const int slot = p.slots ? p.slots[t] : (int)t;
  const int group = h / p.headsPerGroup;
  if (first >= p.P) return;
  float state[4][OWN];
#pragma unroll
  for (int r = 0; r < 4; r++) {
#pragma unroll
    for (int i = 0; i < OWN; i++) state[r][i] = 0;
    if (slot >= 0 && first + r < p.P) {
      const long long row = ((long long)h * p.P + first + r) * p.N;
      if (STATES) load_short<OWN, STATES>((const u16*)(p.states + slot * p.stateStride) + row, state[r]);
      else load_own<OWN>(p.states + slot * p.stateStride + row, state[r]);
    }
  }
  float B[OWN], C[OWN];
  load_unaligned<OWN>(p.B.at + t * p.B.stride + (long long)group * p.N, B);
  load_unaligned<OWN>(p.C.at + t * p.C.stride + (long long)group * p.N, C);
  const float delta = delta_at(p, t, h, 0);
  const float decay = decay_of(p.A.at[h * p.A.stride], delta);
  u32 columns[OWN];
  if (STATES) load_columns<OWN>(p, columns);
  const u32 token = STATES ? token_bits(p, t, 0) : 0;
#pragma unroll
  for (int r = 0; r < 4; r++) {
    const int c = first + r;
    if (c >= p.P) break;
    const float x = p.x.at[t * p.x.stride + (long long)h * p.P + c];
    const float dx = delta * x;
    float y = 0;
#pragma unroll
    for (int i = 0; i < OWN; i++) {
      state[r][i] = fmaf(decay, state[r][i], dx * B[i]);
      y = fmaf(state[r][i], C[i], y);
    }
    const long long row = ((long long)h * p.P + c) * p.N;
    if (STATES && slot >= 0) {
      round_own<OWN, STATES>(state[r], row_factor(p, token, h * p.P + c), columns, p.positions);
      store_short<OWN, STATES>((u16*)(p.states + slot * p.stateStride) + row, state[r]);
    } else if (slot >= 0) {
      store_own<OWN>(p.states + slot * p.stateStride + row, state[r]);
    }
    y = warp_sum(y);
    if (threadIdx.x % 32 == 0) {
      p.out.at[t * p.out.stride + (long long)h * p.P + c] = with_skip_and_gate(p, y, x, t, h, c);
    }
  }
}

// Sums over the warp of 8 values of each lane: lane l gets that of value l / 4. Lanes are added in the order of warp_sum.
static __device__ __forceinline__ float sum_of_eight(float* v) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 4, offset = 16; half > 0; half >>= 1, offset >>= 1) {
    const bool isUpper = lane & offset;
#pragma unroll
    for (int i = 0; i < half; i++) {
      const float sent = isUpper ? v[i] : v[i + half];
      const float own = isUpper ? v[i + half] : v[i];
      v[i] = own + __shfl_xor_sync(ALL_LANES, sent, offset);
    }
  }
  v[0] += __shfl_xor_sync(ALL_LANES, v[0], 2);
  return v[0] + __shfl_xor_sync(ALL_LANES, v[0], 1);
}

#define TILE 16

// Tokens of a sequence one after another, with 8 rows of the state in a warp's registers; 16 tokens at a time lie in
// shared memory.
template <int OWN, int STATES>
static __device__ __forceinline__ void state_scan(const StateSpaceParams& p) {
  const int N = 32 * OWN;
  __shared__ __align__(16) float tileB[TILE * 32 * OWN];
  __shared__ __align__(16) float tileC[TILE * 32 * OWN];
  __shared__ float tileX[TILE * 32];
  __shared__ float deltas[TILE];
  __shared__ float decays[TILE];
  const int h = blockIdx.y;
  const int b = blockIdx.z;
  const long long begin = p.starts[b], end = p.starts[b + 1];
  if (begin == end) return;
  const int slot = p.slots ? p.slots[b] : b;
  const int group = h / p.headsPerGroup;
  const int lane = threadIdx.x % 32;
  const int blockFirst = 32 * blockIdx.x;
  const int first = blockFirst + 8 * (threadIdx.x / 32);
  const bool hasPast = slot >= 0 && p.hasInitialState && p.hasInitialState[b];
  float* states = p.states + slot * p.stateStride + (long long)h * p.P * N / (STATES ? 2 : 1);
  float state[8][OWN];
#pragma unroll
  for (int r = 0; r < 8; r++) {
#pragma unroll
    for (int i = 0; i < OWN; i++) state[r][i] = 0;
    if (hasPast && first + r < p.P) {
      if (STATES) load_short<OWN, STATES>((const u16*)states + (long long)(first + r) * N, state[r]);
      else load_own<OWN>(states + (long long)(first + r) * N, state[r]);
    }
  }
  u32 columns[OWN];
  if (STATES) load_columns<OWN>(p, columns);
  const float A = p.A.at[h * p.A.stride];
  for (long long tile = begin; tile < end; tile += TILE) {
    const int count = end - tile < TILE ? (int)(end - tile) : TILE;
    __syncthreads();
    for (int i = threadIdx.x; i < count * N; i += 128) {
      tileB[i] = p.B.at[(tile + i / N) * p.B.stride + (long long)group * N + i % N];
      tileC[i] = p.C.at[(tile + i / N) * p.C.stride + (long long)group * N + i % N];
    }
    for (int i = threadIdx.x; i < count * 32; i += 128) {
      const int c = blockFirst + i % 32;
      tileX[i] = c < p.P ? p.x.at[(tile + i / 32) * p.x.stride + (long long)h * p.P + c] : 0.0f;
    }
    if ((int)threadIdx.x < count) {
      const float delta = delta_at(p, tile + threadIdx.x, h, 0);
      deltas[threadIdx.x] = delta;
      decays[threadIdx.x] = decay_of(A, delta);
    }
    __syncthreads();
#pragma unroll (STATES ? 1 : 2)
    for (int s = 0; s < count; s++) {
      float B[OWN], C[OWN], y[8];
      load_own<OWN>(tileB + s * N, B);
      load_own<OWN>(tileC + s * N, C);
      const float delta = deltas[s], decay = decays[s];
      const float* x = tileX + 32 * s + 8 * (threadIdx.x / 32);
      const u32 token = STATES ? token_bits(p, b, tile + s - begin) : 0;
#pragma unroll
      for (int r = 0; r < 8; r++) {
        const float dx = delta * x[r];
        y[r] = 0;
#pragma unroll
        for (int i = 0; i < OWN; i++) {
          state[r][i] = fmaf(decay, state[r][i], dx * B[i]);
          y[r] = fmaf(state[r][i], C[i], y[r]);
        }
        if (STATES) {
          round_own<OWN, STATES>(state[r], row_factor(p, token, h * p.P + first + r), columns, p.positions);
        }
      }
      const float sum = sum_of_eight(y);
      const int c = first + lane / 4;
      if (lane % 4 == 0 && c < p.P) {
        const float own = x[lane / 4];
        p.out.at[(tile + s) * p.out.stride + (long long)h * p.P + c] = with_skip_and_gate(p, sum, own, tile + s, h, c);
      }
    }
  }
  if (slot < 0 || !p.keepState) return;
#pragma unroll
  for (int r = 0; r < 8; r++) {
    if (first + r >= p.P) break;
    if (STATES) store_short<OWN, STATES>((u16*)states + (long long)(first + r) * N, state[r]);
    else store_own<OWN>(states + (long long)(first + r) * N, state[r]);
  }
}
