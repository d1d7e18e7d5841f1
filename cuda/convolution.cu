// Causal depthwise convolution: over packed sequences (prefill), and for the next tokens of each (decode). Both sum in one
// order: bias, then taps from the oldest input on.
#include "convolution.cuh"
#include "quads.cuh"

struct CausalConv1dFnParams {
  Rows x;
  Rows weight;
  Rows bias;
  Rows out;
  float* states;
  long long stateStride;
  const int* starts;
  const int* slots;
  const int* hasInitialState;
  int T;
  int C;
  int K;
  int W;
  int count;
  int isSilu;
  int hasBias;
  int keepsState;
};

// out[t] = activation(bias + Σ_w weight[w] * xx[t + w]), xx = [past K-1 inputs | x] of the row's sequence; rows of slot -1
// pass. x, out (T, C), weight (C, K), states (slots, C, W). Grid: an element a thread, blocks of 256.
extern "C" __global__ void __launch_bounds__(256) causal_conv1d_fn(const CausalConv1dFnParams p) {
  long long t;
  int c;
  if (!element_of(p.T, p.C, t, c)) return;
  const int b = sequence_of(p.starts, p.count, (int)t);
  const int slot = p.slots ? p.slots[b] : b;
  float* out = p.out.at + t * p.out.stride + c;
  if (slot < 0) {
    *out = element(p.x, t, c);
    return;
  }
  const long long begin = p.starts[b];
  const float* past = p.states + slot * p.stateStride + (long long)c * p.W + p.W;
  const bool hasPast = p.hasInitialState && p.hasInitialState[b];
  float sum = p.hasBias ? vector_at(p.bias, c) : 0.0f;
  for (int w = 0; w < p.K; w++) {
    const long long at = t - begin - (p.K - 1) + w;
    const float input = at >= 0 ? element(p.x, begin + at, c) : hasPast ? past[at] : 0.0f;
    sum = fmaf(element(p.weight, c, w), input, sum);
  }
  *out = finished(sum, p.isSilu);
}

// Tokens of a thread of causal_conv1d_four.
#define OWN_TOKENS 8

// causal_conv1d_fn for four taps and states of three inputs; with `keepsState` causal_conv1d_states, too. A thread has four channels
// of OWN_TOKENS tokens of a sequence, so that each input is loaded about once. The one with a sequence's first tokens has its state.
// Grid: (T / OWN_TOKENS + sequences, C / 512), blocks of 128: the blocks of sequence b begin at starts[b] / OWN_TOKENS + b.
extern "C" __global__ void __launch_bounds__(128) causal_conv1d_four(const CausalConv1dFnParams p) {
  const int c = 4 * (blockIdx.y * 128 + threadIdx.x);
  if (c >= p.C) return;
  int b = 0;
  for (int high = p.count - 1; b < high;) {
    const int middle = (b + high + 1) / 2;
    if (p.starts[middle] / OWN_TOKENS + middle <= (int)blockIdx.x) b = middle;
    else high = middle - 1;
  }
  const int begin = p.starts[b], length = p.starts[b + 1] - begin;
  const int first = OWN_TOKENS * ((int)blockIdx.x - begin / OWN_TOKENS - b), left = length - first;
  if (left <= 0) return;
  const float* x = p.x.at + begin * p.x.stride;
  const float* own = x + first * p.x.stride;
  float* out = p.out.at + (begin + first) * p.out.stride;
  const int slot = p.slots ? p.slots[b] : b;
  // The three inputs before the first token, and those of the tokens.
  float v[3 + OWN_TOKENS][4];
#pragma unroll
  for (int i = 0; i < OWN_TOKENS; i++) {
    if (i < left) load_quad(own + i * p.x.stride, c, p.C, v[3 + i]);
  }
  if (slot < 0) {
#pragma unroll
    for (int i = 0; i < OWN_TOKENS; i++) {
      if (i < left) store_quad(out + i * p.out.stride, c, p.C, v[3 + i]);
    }
    return;
  }
  float* state = p.states + slot * p.stateStride + 3ll * c;
  if (first > 0) {
#pragma unroll
    for (int i = 0; i < 3; i++) load_quad(own + (i - 3) * p.x.stride, c, p.C, v[i]);
  } else {
    const bool hasPast = p.hasInitialState && p.hasInitialState[b];
#pragma unroll
    for (int i = 0; i < 12; i++) v[i % 3][i / 3] = hasPast && c + i / 3 < p.C ? state[i] : 0.0f;
  }
  float taps[4][4], bias[4];
#pragma unroll
  for (int j = 0; j < 4; j++) {
    const int channel = c + j < p.C ? c + j : p.C - 1;
    load_quad(p.weight.at + channel * p.weight.stride, 0, 4, taps[j]);
    bias[j] = p.hasBias ? vector_at(p.bias, channel) : 0.0f;
  }
  if (first == 0 && p.keepsState) {
    float last[3][4];
#pragma unroll
    for (int i = 0; i < 3; i++) {
      const int at = length - 3 + i;
      if (at >= 0) load_quad(x + at * p.x.stride, c, p.C, last[i]);
#pragma unroll
      for (int j = 0; j < 4; j++) last[i][j] = at >= 0 ? last[i][j] : at == -1 ? v[2][j] : v[1][j];
    }
#pragma unroll
    for (int i = 0; i < 12; i++) {
      if (c + i / 3 < p.C) state[i] = last[i % 3][i / 3];
    }
  }
#pragma unroll
  for (int i = 0; i < OWN_TOKENS; i++) {
    if (i >= left) break;
    float sums[4];
#pragma unroll
    for (int j = 0; j < 4; j++) {
      sums[j] = bias[j];
#pragma unroll
      for (int w = 0; w < 4; w++) sums[j] = fmaf(taps[j][w], v[i + w][j], sums[j]);
      sums[j] = finished(sums[j], p.isSilu);
    }
    store_quad(out + i * p.out.stride, c, p.C, sums);
  }
}

struct CausalConv1dStatesParams {
  Rows x;
  float* states;
  long long stateStride;
  const int* starts;
  const int* slots;
  const int* hasInitialState;
  int C;
  int W;
  int count;
};

// states[slot] = the last W of [past | x] of each sequence that is not empty. Grid: a thread for each sequence and channel.
extern "C" __global__ void __launch_bounds__(256) causal_conv1d_states(const CausalConv1dStatesParams p) {
  long long b;
  int c;
  if (!element_of(p.count, p.C, b, c)) return;
  const int slot = p.slots ? p.slots[b] : (int)b;
  const long long begin = p.starts[b];
  const long long length = p.starts[b + 1] - begin;
  if (slot < 0 || length == 0) return;
  float* state = p.states + slot * p.stateStride + (long long)c * p.W;
  const bool hasPast = p.hasInitialState && p.hasInitialState[b];
  // What is kept moves towards the front, so that nothing is overwritten before it is read.
  for (int i = 0; i < p.W; i++) {
    const long long at = length - p.W + i;
    state[i] = at >= 0 ? element(p.x, begin + at, c) : hasPast ? state[i + length] : 0.0f;
  }
}

struct CausalConv1dUpdateParams {
  Rows x;
  Rows weight;
  Rows bias;
  Rows out;
  float* states;
  long long stateStride;
  const int* slots;
  const int* seen;
  int B;
  int L;
  int C;
  int K;
  int W;
  int isSilu;
  int hasBias;
};

// The convolution of L new tokens of each sequence, from its slot and back into it. With `seen`, token number n lies at
// n mod W of the slot; otherwise entries move to the front. x, out (B, L, C). Grid: a thread for each sequence and channel.
extern "C" __global__ void __launch_bounds__(256) causal_conv1d_update(const CausalConv1dUpdateParams p) {
  long long b;
  int c;
  if (!element_of(p.B, p.C, b, c)) return;
  const int slot = p.slots ? p.slots[b] : (int)b;
  const float* x = p.x.at + b * p.x.stride + c;
  float* out = p.out.at + b * p.out.stride + c;
  if (slot < 0) {
    for (int i = 0; i < p.L; i++) out[(long long)i * p.C] = x[(long long)i * p.C];
    return;
  }
  float* state = p.states + slot * p.stateStride + (long long)c * p.W;
  const float bias = p.hasBias ? vector_at(p.bias, c) : 0.0f;
  if (!p.seen) {
    for (int i = 0; i < p.L; i++) {
      const float* weight = p.weight.at + c * p.weight.stride;
      out[(long long)i * p.C] = convolve_next(weight, bias, state, p.K, p.W, x[(long long)i * p.C], p.isSilu);
    }
    return;
  }
  int head = p.W > 0 ? p.seen[b] % p.W : 0;
  for (int i = 0; i < p.L; i++) {
    const float input = x[(long long)i * p.C];
    float sum = bias;
    for (int w = 0; w < p.K - 1; w++) {
      int at = p.W - (p.K - 1) + w + head;
      if (at >= p.W) at -= p.W;
      sum = fmaf(element(p.weight, c, w), state[at], sum);
    }
    sum = fmaf(element(p.weight, c, p.K - 1), input, sum);
    out[(long long)i * p.C] = finished(sum, p.isSilu);
    if (p.W == 0) continue;
    state[head] = input;
    head = head + 1 == p.W ? 0 : head + 1;
  }
}
