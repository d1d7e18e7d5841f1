// Products of rows and outputs on the ordinary units, in float32.
#pragma once
#include "weights.cuh"

// x[8 * eight] to x[8 * eight + 7], zeros from K on.
static __device__ __forceinline__ void load_inputs(const float* x, int eight, int K, bool isAligned, float* v) {
  if (isAligned && 8 * eight + 8 <= K) {
    const float4 a = *(const float4*)(x + 8 * eight), b = *(const float4*)(x + 8 * eight + 4);
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
  } else {
#pragma unroll
    for (int i = 0; i < 8; i++) v[i] = 8 * eight + i < K ? x[8 * eight + i] : 0.0f;
  }
}

// R rows times O outputs of a warp. Lane l sums the inputs of eights l, l + 32, l + 64 ... in their order; then lanes 16, 8,
// 4, 2 and 1 apart are added: the same for every R and O.
template <int F, int R, int O>
static __device__ __forceinline__ void products(
    const u8* weight, long long rowBytes, int outputs, const float* const* x, bool isAligned, int K, float sums[R][O]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < R; r++) {
#pragma unroll
    for (int o = 0; o < O; o++) sums[r][o] = 0;
  }
  const int eights = (K + 7) / 8;
#pragma unroll(R == 1 ? 4 : 1)
  for (int eight = lane; eight < eights; eight += 32) {
    float w[O][8];
#pragma unroll
    for (int o = 0; o < O; o++) load_eight<F>(weight + (o < outputs ? o : 0) * rowBytes, eight, w[o]);
#pragma unroll
    for (int r = 0; r < R; r++) {
      float v[8];
      load_inputs(x[r], eight, K, isAligned, v);
#pragma unroll
      for (int o = 0; o < O; o++) {
#pragma unroll
        for (int i = 0; i < 8; i++) sums[r][o] = fmaf(w[o][i], v[i], sums[r][o]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < R; r++) {
#pragma unroll
    for (int o = 0; o < O; o++) sums[r][o] = warp_sum(sums[r][o]);
  }
}
