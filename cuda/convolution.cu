// Causal depthwise convolution: over packed sequences (prefill), and for the next tokens of each (decode). Both sum in one
// order: bias, then taps from the oldest input on.
#include "convolution.cuh"

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
