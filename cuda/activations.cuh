// Functions between the two products of feed-forward layers, by the numbers that the host has for them.
#pragma once
#include "common.cuh"

enum { SILU, GELU, GELU_TANH, RELU, RELU2, IDENTITY };

static __device__ __forceinline__ float activated(float v, int activation) {
  switch (activation) {
    case SILU: return silu(v);
    case GELU: return v * (1.0f + erff(v * 0.70710678118654752f)) * 0.5f;
    case GELU_TANH: return v * (1.0f + tanhf(0.79788456080286536f * (v + 0.044715f * v * v * v))) * 0.5f;
    case RELU: return fmaxf(v, 0.0f);
    case RELU2: return fmaxf(v, 0.0f) * fmaxf(v, 0.0f);
    default: return v;
  }
}
