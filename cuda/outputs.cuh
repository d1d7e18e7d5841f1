// What becomes of the outputs of a product while they are at hand. Everything rounds as the kernels do that would do it later.
#pragma once
#include "convolution.cuh"

// What is added to another row's element: output n of row t, or a multiple of it, which is put, too.
template <class Params>
static __device__ __forceinline__ float scaled_output(const Params& p, long long t, int n, float v) {
  if (!p.isScaled) return v;
  v = __fmul_rn(v, p.scale);
  p.scaled.at[t * p.scaled.stride + n] = v;
  return v;
}

// Puts output n of row t: with its bias, scaled or not, added to another row's element, and, where it is a channel that a convolution takes
// next, convolved, in kernels that can. Parameters are those of a product: see LinearParams.
template <bool CONVOLVES, class Params>
static __device__ __forceinline__ void put_output(const Params& p, long long t, int n, float v) {
  if (p.hasBias) v = __fadd_rn(v, vector_at(p.bias, n));
  p.out.at[t * p.out.stride + n] = v;
  const float change = CONVOLVES ? scaled_output(p, t, n, v) : v;
  if (p.hasAddend) p.sum.at[t * p.sum.stride + n] = __fadd_rn(change, element(p.addend, t, n));
  if (!CONVOLVES) return;
  const int c = n - p.convFirst;
  if (c < 0 || c >= p.convChannels) return;
  const int slot = p.convSlots ? p.convSlots[t] : (int)t;
  float* out = p.convOut.at + t * p.convOut.stride + c;
  if (slot < 0) {
    *out = v;
    return;
  }
  const float bias = p.hasConvBias ? vector_at(p.convBias, c) : 0.0f;
  float* state = p.convStates + slot * p.convStateStride + (long long)c * p.convW;
  const float* weight = p.convWeight.at + c * p.convWeight.stride;
  *out = convolve_next(weight, bias, state, p.convK, p.convW, v, p.convIsSilu);
}

// The same of a single row, by a thread that has one output, or none. What it needs besides the sum is loaded before: all but
// the addend before the kernel before has ended.
template <class Params>
struct OwnOutput {
  const Params& p;
  const int n;
  float bias = 0, addend = 0, convBias = 0, taps[4], past[3];
  // Of a convolution of four taps.
  float* state = nullptr;

  __device__ __forceinline__ OwnOutput(const Params& p, int n, bool isOwn) : p(p), n(isOwn && n < p.N ? n : -1) {
    if (this->n < 0) return;
    if (p.hasBias) bias = vector_at(p.bias, n);
    const int c = n - p.convFirst;
    if (c < 0 || c >= p.convChannels || p.convK != 4 || p.convW != 3) return;
    const int slot = p.convSlots ? p.convSlots[0] : 0;
    if (slot < 0) return;
    state = p.convStates + slot * p.convStateStride + 3ll * c;
    if (p.hasConvBias) convBias = vector_at(p.convBias, c);
#pragma unroll
    for (int w = 0; w < 4; w++) taps[w] = p.convWeight.at[c * p.convWeight.stride + w];
#pragma unroll
    for (int w = 0; w < 3; w++) past[w] = state[w];
  }

  __device__ __forceinline__ void load_addend() {
    if (n >= 0 && p.hasAddend) addend = p.addend.at[n];
  }

  __device__ __forceinline__ void put(float v) {
    if (n < 0) return;
    if (!state && p.convChannels > 0) {
      put_output<true>(p, 0, n, v);
      return;
    }
    if (p.hasBias) v = __fadd_rn(v, bias);
    p.out.at[n] = v;
    const float change = scaled_output(p, 0, n, v);
    if (p.hasAddend) p.sum.at[n] = __fadd_rn(change, addend);
    if (state) p.convOut.at[n - p.convFirst] = convolve_four(taps, convBias, past, state, v, p.convIsSilu);
  }
};

// The same of COUNT rows, `apart` from each other, by a thread that has one output of them; for a convolution of four taps, or none.
template <int COUNT, class Params>
struct OwnOutputs {
  const Params& p;
  const int n, row, apart;
  bool isConvolved = false;
  int slots[COUNT];
  float bias = 0, factors[COUNT], addends[COUNT], convBias = 0, taps[4], past[COUNT][3];

  __device__ __forceinline__ OwnOutputs(const Params& p, int n, int row, int apart) : p(p), n(n), row(row), apart(apart) {
    if (n >= p.N) return;
    if (p.hasBias) bias = vector_at(p.bias, n);
    const int c = n - p.convFirst;
    isConvolved = c >= 0 && c < p.convChannels && isPossible(p);
    if (!isConvolved) return;
    if (p.hasConvBias) convBias = vector_at(p.convBias, c);
#pragma unroll
    for (int w = 0; w < 4; w++) taps[w] = p.convWeight.at[c * p.convWeight.stride + w];
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      const int t = row + apart * i;
      slots[i] = t >= p.T ? -1 : p.convSlots ? p.convSlots[t] : t;
    }
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
#pragma unroll
      for (int w = 0; w < 3 && slots[i] >= 0; w++) past[i][w] = state(i)[w];
    }
  }

  static __device__ __forceinline__ bool isPossible(const Params& p) {
    return p.convChannels == 0 || (p.convK == 4 && p.convW == 3);
  }

  __device__ __forceinline__ float* state(int i) {
    return p.convStates + slots[i] * p.convStateStride + 3ll * (n - p.convFirst);
  }

  // Loads what the kernel before may have written.
  __device__ __forceinline__ void load_after() {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      const int t = row + apart * i;
      if (t >= p.T || n >= p.N) continue;
      factors[i] = p.factors[t];
      if (p.hasAddend) addends[i] = element(p.addend, t, n);
    }
  }

  // Puts the output of row i, of which `sum` is the product of split rows.
  __device__ __forceinline__ void put(int i, float sum) {
    const int t = row + apart * i;
    if (t >= p.T || n >= p.N) return;
    float v = __fmul_rn(sum, factors[i]);
    if (p.hasBias) v = __fadd_rn(v, bias);
    p.out.at[t * p.out.stride + n] = v;
    const float change = scaled_output(p, t, n, v);
    if (p.hasAddend) p.sum.at[t * p.sum.stride + n] = __fadd_rn(change, addends[i]);
    if (!isConvolved) return;
    float* to = p.convOut.at + t * p.convOut.stride + n - p.convFirst;
    *to = slots[i] < 0 ? v : convolve_four(taps, convBias, past[i], state(i), v, p.convIsSilu);
  }
};
