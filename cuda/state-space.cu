// The recurrence over states in float32, and over any: see state-space.cuh.
#include "state-space.cuh"

// x, z, out (rows, H*P), B, C (rows, G*N), dt (rows, H), A (H), states (slots, H, P, N). Grid: (rows * P / 32, H), blocks of
// 128. A row of slot -1 reads zeros and leaves no state.
extern "C" __global__ void __launch_bounds__(128) state_update_64(const StateSpaceParams p) { state_update<2, FLOAT32, false>(p); }
extern "C" __global__ void __launch_bounds__(128) state_update_128(const StateSpaceParams p) { state_update<4, FLOAT32, false>(p); }
extern "C" __global__ void __launch_bounds__(128) state_update_256(const StateSpaceParams p) { state_update<8, FLOAT32, false>(p); }

// As state_update_*, after the tokens that states lack, see there. Shared memory: B and 32 channels of x of mostReplayed tokens.
// So many blocks share a multiprocessor that some load while others compute.
extern "C" __global__ void __launch_bounds__(128, 6) state_replay_64(const StateSpaceParams p) { state_update<2, FLOAT32, true>(p); }
extern "C" __global__ void __launch_bounds__(128, 6) state_replay_128(const StateSpaceParams p) { state_update<4, FLOAT32, true>(p); }
extern "C" __global__ void __launch_bounds__(128, 4) state_replay_256(const StateSpaceParams p) { state_update<8, FLOAT32, true>(p); }

// As state_update_*, over the rows starts[b] to starts[b + 1] of each sequence b, from its slot's state if it has an initial
// one. Grid: (P / 16, H, sequences), blocks of 128.
extern "C" __global__ void __launch_bounds__(128) state_scan_64(const StateSpaceParams p) { state_scan<2, FLOAT32>(p); }
extern "C" __global__ void __launch_bounds__(128) state_scan_128(const StateSpaceParams p) { state_scan<4, FLOAT32>(p); }
extern "C" __global__ void __launch_bounds__(128) state_scan_256(const StateSpaceParams p) { state_scan<8, FLOAT32>(p); }

// As state_scan_*, for fewer heads than fill the GPU: a warp has two rows of a state, not four. Grid: (P / 8, H, sequences), blocks of 128.
extern "C" __global__ void __launch_bounds__(128) state_scan_few_64(const StateSpaceParams p) { state_scan<2, FLOAT32, 2>(p); }
extern "C" __global__ void __launch_bounds__(128) state_scan_few_128(const StateSpaceParams p) { state_scan<4, FLOAT32, 2>(p); }

// A state as token t of sequence b leaves it in a row and a column.
static __device__ __forceinline__ float rounded_at(
    const StateSpaceParams& p, float v, long long b, long long t, int row, int column) {
  if (p.stateFormat == FLOAT32) return v;
  const u32 bits = row_factor(p, token_bits(p, b, t), row) * column_factor(column);
  return p.stateFormat == FLOAT16 ? rounded<FLOAT16>(v, bits, p.positions) : rounded<BFLOAT16>(v, bits, p.positions);
}

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
  const bool isShort = p.stateFormat != FLOAT32;
  const int row = h * p.P + c;
  float* state = p.states + slot * p.stateStride + (long long)row * (isShort ? (p.N + 1) / 2 : p.N);
  u16* halves = (u16*)state;
  for (long long t = begin; t < end; t++) {
    const float x = p.x.at[t * p.x.stride + (long long)h * p.P + c];
    float y = 0;
    for (int n = lane; n < p.N; n += 32) {
      float value = 0;
      if (hasPast || (t > begin && isKept)) {
        if (p.stateFormat == FLOAT16) value = half_of_word<FLOAT16>(halves[n]);
        else if (p.stateFormat == BFLOAT16) value = half_of_word<BFLOAT16>(halves[n]);
        else value = state[n];
      }
      // Tokens that a state without memory has seen.
      for (long long s = isKept ? t : begin; s <= t; s++) {
        const float delta = delta_at(p, s, h, c);
        const float decay = decay_of(p.A.at[h * p.A.stride + (long long)c * p.aChannel + n * p.aState], delta);
        const float dx = delta * p.x.at[s * p.x.stride + (long long)h * p.P + c];
        value = fmaf(decay, value, dx * p.B.at[s * p.B.stride + (long long)group * p.N + n]);
        if (s < t) value = rounded_at(p, value, b, s - begin, row, n);
      }
      if (isKept && p.stateFormat == FLOAT16) {
        halves[n] = (u16)word_of<FLOAT16>(rounded_at(p, value, b, t - begin, row, n), 0.0f);
      } else if (isKept && p.stateFormat == BFLOAT16) {
        halves[n] = (u16)word_of<BFLOAT16>(rounded_at(p, value, b, t - begin, row, n), 0.0f);
      } else if (isKept) {
        state[n] = value;
      }
      y = fmaf(value, p.C.at[t * p.C.stride + (long long)group * p.N + n], y);
    }
    y = warp_sum(y);
    if (lane == 0) {
      p.out.at[t * p.out.stride + (long long)h * p.P + c] = with_skip_and_gate(p, y, x, skip_of(p, h, c), t, h, c);
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
