// The causal depthwise convolution of one channel's next token.
#pragma once
#include "common.cuh"

static __device__ __forceinline__ float finished(float sum, int isSilu) { return isSilu ? silu(sum) : sum; }

// The convolution of four taps, which moves the last three inputs: `state` has them, too.
static __device__ __forceinline__ float convolve_four(
    const float* taps, float bias, const float* past, float* state, float input, int isSilu) {
  float sum = bias;
#pragma unroll
  for (int w = 0; w < 3; w++) sum = fmaf(taps[w], past[w], sum);
  sum = fmaf(taps[3], input, sum);
  state[0] = past[1], state[1] = past[2], state[2] = input;
  return finished(sum, isSilu);
}

// activation(bias + Σ_w weight[w] * [state | input][w]) of K taps, from the oldest on. `state` has the last W inputs, the oldest
// first, and then has those up to this one. Four taps, as nearly all models have them, are loaded together.
static __device__ __forceinline__ float convolve_next(
    const float* weight, float bias, float* state, int K, int W, float input, int isSilu) {
  if (K == 4 && W == 3) {
    const float past[3] = {state[0], state[1], state[2]};
    const float taps[4] = {weight[0], weight[1], weight[2], weight[3]};
    return convolve_four(taps, bias, past, state, input, isSilu);
  }
  float sum = bias;
  for (int w = 0; w < K - 1; w++) sum = fmaf(weight[w], state[W - (K - 1) + w], sum);
  sum = fmaf(weight[K - 1], input, sum);
  for (int at = 0; at + 1 < W; at++) state[at] = state[at + 1];
  if (W > 0) state[W - 1] = input;
  return finished(sum, isSilu);
}
