// What becomes of the outputs of a product while they are at hand. Everything rounds as the kernels do that would do it later.
#pragma once
#include "convolution.cuh"

// Puts output n of row t: with its bias, added to another row's element, and, where it is a channel that a convolution takes
// next, convolved, in kernels that can. Parameters are those of a product: see LinearParams.
template <bool CONVOLVES, class Params>
static __device__ __forceinline__ void put_output(const Params& p, long long t, int n, float v) {
  if (p.hasBias) v = __fadd_rn(v, vector_at(p.bias, n));
  p.out.at[t * p.out.stride + n] = v;
  if (p.hasAddend) p.sum.at[t * p.sum.stride + n] = __fadd_rn(v, element(p.addend, t, n));
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
