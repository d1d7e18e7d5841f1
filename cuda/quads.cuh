// Rows four columns at a time, and their split into two parts for the tensor cores.
#pragma once
#include "common.cuh"

// Columns c to c + 3 of a row of C, zeros from C on.
static __device__ __forceinline__ void load_quad(const float* row, int c, int C, float* v) {
  if (c + 4 <= C && ((u64)row & 15) == 0) {
    const float4 q = *(const float4*)(row + c);
    v[0] = q.x, v[1] = q.y, v[2] = q.z, v[3] = q.w;
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = c + i < C ? row[c + i] : 0.0f;
  }
}

static __device__ __forceinline__ void store_quad(float* row, int c, int C, const float* v) {
  if (c + 4 <= C && ((u64)row & 15) == 0) {
    *(float4*)(row + c) = make_float4(v[0], v[1], v[2], v[3]);
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (c + i < C) row[c + i] = v[i];
    }
  }
}

// What the float16 parts of a row are of: the row divided by a power of two that makes its largest magnitude 8 to 16, so that
// nothing overflows.
static __device__ __forceinline__ float split_factor(float most) {
  return bits_to_float(__float_as_uint(fmaxf(most, 1e-30f)) & 0x7f800000u) * 0.125f;
}

// Puts four columns of a row, divided by its factor, where the tensor cores' kernels find them: of eight neighbours the first
// parts come first, then what they lack.
static __device__ __forceinline__ void put_parts(u32* row, int c, const float* v, float inverse, bool isFloat16) {
  u32* to = row + c / 8 * 8 + c % 8 / 2;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const float low = v[2 * i] * inverse, high = v[2 * i + 1] * inverse;
    if (isFloat16) {
      const u32 first = floats_to_halves(low, high);
      to[i] = first;
      to[4 + i] = floats_to_halves(low - half_to_float(first & 0xffff), high - half_to_float(first >> 16));
    } else {
      const u32 first = floats_to_bfloats(low, high);
      to[i] = first;
      to[4 + i] = floats_to_bfloats(low - bits_to_float(first << 16), high - bits_to_float(first & 0xffff0000u));
    }
  }
}

// The sum of 32 neighbours of a row that is split into float16.
static __device__ __forceinline__ float sum_of_parts(const uint4* parts) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const uint4 v = parts[i];
    const u32 pairs[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int j = 0; j < 4; j++) sum += half_to_float(pairs[j] & 0xffff) + half_to_float(pairs[j] >> 16);
  }
  return sum;
}
