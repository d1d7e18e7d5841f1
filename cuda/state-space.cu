// The selective state-space recurrence: one step of each row (decode), packed sequences (prefill), and its decays.
//
//   Δ = clamp(softplus(dt + bias)),  h = exp(min(A Δ, 0)) h + Δ x ⊗ B,  y = (h C + D x) silu(z)
//
// A warp has whole rows of a head's state (P, N). Lane l of it has the columns N / 32 * l ... of a state of 64, 128 or 256,
// and every 32nd of any other. A lane sums h C over its columns in their order, then lanes 16, 8, 4, 2 and 1 apart are added.
#include "common.cuh"

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

template <int OWN>
static __device__ __forceinline__ void load_unaligned(const float* row, float* own) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < OWN; i++) own[i] = row[OWN * lane + i];
}

// One step of the rows of the state that a warp has: 4 rows at a time, whose loads are on their way together.
template <int OWN>
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
      load_own<OWN>(p.states + slot * p.stateStride + ((long long)h * p.P + first + r) * p.N, state[r]);
    }
  }
  float B[OWN], C[OWN];
  load_unaligned<OWN>(p.B.at + t * p.B.stride + (long long)group * p.N, B);
  load_unaligned<OWN>(p.C.at + t * p.C.stride + (long long)group * p.N, C);
  const float delta = delta_at(p, t, h, 0);
  const float decay = decay_of(p.A.at[h * p.A.stride], delta);
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
    if (slot >= 0) store_own<OWN>(p.states + slot * p.stateStride + ((long long)h * p.P + c) * p.N, state[r]);
    y = warp_sum(y);
    if (threadIdx.x % 32 == 0) {
      p.out.at[t * p.out.stride + (long long)h * p.P + c] = with_skip_and_gate(p, y, x, t, h, c);
    }
  }
}

// x, z, out (rows, H*P), B, C (rows, G*N), dt (rows, H), A (H), states (slots, H, P, N). Grid: (rows * P / 16, H), blocks of
// 128. A row of slot -1 reads zeros and leaves no state.
extern "C" __global__ void __launch_bounds__(128) state_update_64(const StateSpaceParams p) { state_update<2>(p); }
extern "C" __global__ void __launch_bounds__(128) state_update_128(const StateSpaceParams p) { state_update<4>(p); }
extern "C" __global__ void __launch_bounds__(128) state_update_256(const StateSpaceParams p) { state_update<8>(p); }

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
template <int OWN>
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
  float* states = p.states + slot * p.stateStride + (long long)h * p.P * N;
  float state[8][OWN];
#pragma unroll
  for (int r = 0; r < 8; r++) {
#pragma unroll
    for (int i = 0; i < OWN; i++) state[r][i] = 0;
    if (hasPast && first + r < p.P) load_own<OWN>(states + (long long)(first + r) * N, state[r]);
  }
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
#pragma unroll 2
    for (int s = 0; s < count; s++) {
      float B[OWN], C[OWN], y[8];
      load_own<OWN>(tileB + s * N, B);
      load_own<OWN>(tileC + s * N, C);
      const float delta = deltas[s], decay = decays[s];
      const float* x = tileX + 32 * s + 8 * (threadIdx.x / 32);
#pragma unroll
      for (int r = 0; r < 8; r++) {
        const float dx = delta * x[r];
        y[r] = 0;
#pragma unroll
        for (int i = 0; i < OWN; i++) {
          state[r][i] = fmaf(decay, state[r][i], dx * B[i]);
          y[r] = fmaf(state[r][i], C[i], y[r]);
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
    if (first + r < p.P) store_own<OWN>(states + (long long)(first + r) * N, state[r]);
  }
}

// As state_update_*, over the rows starts[b] to starts[b + 1] of each sequence b, from its slot's state if it has an initial
// one. Grid: (P / 32, H, sequences), blocks of 128.
extern "C" __global__ void __launch_bounds__(128) state_scan_64(const StateSpaceParams p) { state_scan<2>(p); }
extern "C" __global__ void __launch_bounds__(128) state_scan_128(const StateSpaceParams p) { state_scan<4>(p); }
extern "C" __global__ void __launch_bounds__(128) state_scan_256(const StateSpaceParams p) { state_scan<8>(p); }

// Both for states of any size, and for A, dt and dtBias of each channel or state. Without `starts` every row is a sequence
// with a past. A sequence that is padded, or leaves no state, has no memory for one: it is computed from the first token on
// for each of them.
// Grid: (sequences * P, H), blocks of 32.
extern "C" __global__ void __launch_bounds__(32) state_any(const StateSpaceParams p) {
  const int c = blockIdx.x % p.P, h = blockIdx.y, b = blockIdx.x / p.P;
  const long long begin = p.starts ? p.starts[b] : b;
  const long long end = p.starts ? p.starts[b + 1] : b + 1;
  const int slot = p.slots ? p.slots[b] : b;
  const int group = h / p.headsPerGroup;
  const int lane = threadIdx.x;
  const bool hasPast = slot >= 0 && (!p.starts || (p.hasInitialState && p.hasInitialState[b]));
  const bool isKept = slot >= 0 && (!p.starts || p.keepState);
  float* state = p.states + slot * p.stateStride + ((long long)h * p.P + c) * p.N;
  for (long long t = begin; t < end; t++) {
    const float x = p.x.at[t * p.x.stride + (long long)h * p.P + c];
    float y = 0;
    for (int n = lane; n < p.N; n += 32) {
      float value = hasPast || (t > begin && isKept) ? state[n] : 0.0f;
      // Tokens that a state without memory has seen.
      for (long long s = isKept ? t : begin; s <= t; s++) {
        const float delta = delta_at(p, s, h, c);
        const float decay = decay_of(p.A.at[h * p.A.stride + (long long)c * p.aChannel + n * p.aState], delta);
        const float dx = delta * p.x.at[s * p.x.stride + (long long)h * p.P + c];
        value = fmaf(decay, value, dx * p.B.at[s * p.B.stride + (long long)group * p.N + n]);
      }
      if (isKept) state[n] = value;
      y = fmaf(value, p.C.at[t * p.C.stride + (long long)group * p.N + n], y);
    }
    y = warp_sum(y);
    if (lane == 0) {
      p.out.at[t * p.out.stride + (long long)h * p.P + c] = with_skip_and_gate(p, y, x, t, h, c);
    }
  }
}

// out[b, h] = Σ min(A Δ, 0) over the rows of sequence b, which is row b itself without `starts`. Of the parameters only dt, A,
// dtBias, out, starts and what belongs to them count. Grid: a thread for each sequence and head.
extern "C" __global__ void __launch_bounds__(256) log_decay_sums(const StateSpaceParams p) {
  long long b;
  int h;
  if (!element_of(p.rows, p.H, b, h)) return;
  const long long begin = p.starts ? p.starts[b] : b;
  const long long end = p.starts ? p.starts[b + 1] : b + 1;
  const float A = p.A.at[h * p.A.stride];
  float sum = 0;
  for (long long t = begin; t < end; t++) sum += fminf(A * delta_at(p, t, h, 0), 0.0f);
  p.out.at[b * p.out.stride + h] = sum;
}
