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

// Where the parts of a row lie: one after another, or with those of 63 other rows, as the kernels for many rows take them.
struct Parts {
  // Those of the row; or of its block of 64 rows, in which it is number `row`.
  u32* at;
  // -1: it has no block.
  int row;
};

// How 16 bytes i of row r of a tile of 128-byte rows lie in shared memory, against conflicts of banks: as the tensor cores take
// them, and for threads that read four neighbours of a row.
static __device__ __forceinline__ int place_of_128(int r, int i) { return 8 * r + (i ^ r % 8); }
static __device__ __forceinline__ int place_of_four(int r, int i) { return 8 * r + (i ^ r % 2 * 4); }

// Row t of `parts`, which are those of rows of `padded` columns.
static __device__ __forceinline__ Parts parts_of(u32* parts, long long t, int padded, bool isInBlocks) {
  if (!isInBlocks) return {parts + t * padded, -1};
  return {parts + t / 64 * 64 * ((padded + 63) / 64 * 64), (int)(t % 64)};
}

// A word of the first or second parts, of columns c and c + 1. Of eight neighbours in a row the first parts come first. A block
// has 128 bytes of each row for 64 columns, the first parts of all rows before the second ones. Of 32 columns those come
// first that are 0 and 1 of an eight, then 2 and 3, and so on: what a multiplication of 16 takes lies together.
static __device__ __forceinline__ u32* parts_at(const Parts& parts, int c, int second) {
  if (parts.row < 0) return parts.at + c / 8 * 8 + c % 8 / 2 + 4 * second;
  return parts.at + c / 64 * 4096 + 2048 * second + 4 * place_of_128(parts.row, c % 64 / 32 * 4 + c % 8 / 2) + c % 32 / 8;
}

// Four columns of a row, divided by its factor, as words of two: their first parts, and what these lack.
static __device__ __forceinline__ void split_quad(const float* v, float inverse, bool isFloat16, u32* first, u32* second) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const float low = v[2 * i] * inverse, high = v[2 * i + 1] * inverse;
    if (isFloat16) {
      first[i] = floats_to_halves(low, high);
      second[i] = floats_to_halves(low - half_to_float(first[i] & 0xffff), high - half_to_float(first[i] >> 16));
    } else {
      first[i] = floats_to_bfloats(low, high);
      second[i] = floats_to_bfloats(low - bits_to_float(first[i] << 16), high - bits_to_float(first[i] & 0xffff0000u));
    }
  }
}

// Puts four columns of a row, divided by its factor, where the tensor cores' kernels find them.
static __device__ __forceinline__ void put_parts(const Parts& parts, int c, const float* v, float inverse, bool isFloat16) {
  u32 first[2], second[2];
  split_quad(v, inverse, isFloat16, first, second);
  if (parts.row < 0) {
    *(uint2*)parts_at(parts, c, 0) = make_uint2(first[0], first[1]);
    *(uint2*)parts_at(parts, c, 1) = make_uint2(second[0], second[1]);
    return;
  }
#pragma unroll
  for (int i = 0; i < 2; i++) *parts_at(parts, c + 2 * i, 0) = first[i], *parts_at(parts, c + 2 * i, 1) = second[i];
}

// The same of columns that may be spread, as spread_codes in step-codes.cuh does: four columns, then four zeros.
static __device__ __forceinline__ void put_columns(
    const Parts& parts, int c, const float* v, float inverse, bool isFloat16, bool isSpread) {
  if (!isSpread) {
    put_parts(parts, c, v, inverse, isFloat16);
    return;
  }
  const float zeros[4] = {0, 0, 0, 0};
  put_parts(parts, 2 * c, v, inverse, isFloat16);
  put_parts(parts, 2 * c + 4, zeros, inverse, isFloat16);
}

// The first column of a warp whose lanes have four each, of which those from c on are a lane's.
static __device__ __forceinline__ int first_of_warp(int c) { return c / 128 * 128; }

// Puts what a warp has of a row, lane l four columns from c on, which is 4 l more than a multiple of 128, up to `padded`. With
// `numParts` 1 what the first parts lack is left out of blocks. Eight lanes have 32 columns, of which those lie together in a block
// that are the same pair of an eight: lanes exchange their words, so that each stores neighbours.
static __device__ __forceinline__ void put_warp_parts(
    const Parts& parts, int c, int padded, const float* v, float inverse, bool isFloat16, int numParts) {
  if (parts.row < 0) {
    if (c < padded) put_parts(parts, c, v, inverse, isFloat16);
    return;
  }
  u32 words[2][2];
  split_quad(v, inverse, isFloat16, words[0], words[1]);
  const int lane = threadIdx.x % 32, half = lane % 2, odd = lane / 2 % 2, upper = lane / 4 % 2;
  // Lane 2 e + h of eight has pairs 2 h and 2 h + 1 of eight e. Lanes with odd e get the second of them, and the others the first.
#pragma unroll
  for (int part = 0; part < 2; part++) {
    const u32 other = __shfl_xor_sync(ALL_LANES, odd ? words[part][0] : words[part][1], 2);
    words[part][0] = odd ? other : words[part][0];
    words[part][1] = odd ? words[part][1] : other;
  }
  const int pair = 2 * half + odd, first = c / 32 * 32;
  if (numParts == 1) {
    if (c < padded) *(uint2*)(parts_at(parts, first + 2 * pair, 0) + 2 * upper) = make_uint2(words[0][0], words[0][1]);
    return;
  }
  // The upper four lanes get all of the second parts, and the others of the first ones.
  uint4 all;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const u32 other = __shfl_xor_sync(ALL_LANES, upper ? words[0][i] : words[1][i], 4);
    (&all.x)[i] = upper ? other : words[0][i];
    (&all.z)[i] = upper ? words[1][i] : other;
  }
  if (c < padded) *(uint4*)parts_at(parts, first + 2 * pair, upper) = all;
}

// The sum of 8 columns of a row that is split into float16, of which c is the first: of their first parts, then of their second ones.
static __device__ __forceinline__ float sum_of_eight(const Parts& parts, int c) {
  float sum = 0;
#pragma unroll
  for (int second = 0; second < 2; second++) {
    u32 v[4];
    if (parts.row < 0) {
      const uint4 all = *(const uint4*)parts_at(parts, c, second);
      v[0] = all.x, v[1] = all.y, v[2] = all.z, v[3] = all.w;
    } else {
#pragma unroll
      for (int i = 0; i < 4; i++) v[i] = *parts_at(parts, c + 2 * i, second);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) sum += half_to_float(v[i] & 0xffff) + half_to_float(v[i] >> 16);
  }
  return sum;
}

// The sum of 32 columns, of which c is the first.
static __device__ __forceinline__ float sum_of_parts(const Parts& parts, int c) {
  const float first = sum_of_eight(parts, c) + sum_of_eight(parts, c + 8);
  return first + (sum_of_eight(parts, c + 16) + sum_of_eight(parts, c + 24));
}

// All of them of a row in shared memory, by a block of 256: four threads have an eight each.
static __device__ __forceinline__ void put_sums(float* sums, u32* row, int padded) {
  for (int begin = 0; begin < padded / 8; begin += 256) {
    const int eight = begin + threadIdx.x;
    float sum = eight < padded / 8 ? sum_of_eight({row, -1}, 8 * eight) : 0.0f;
    sum += __shfl_xor_sync(ALL_LANES, sum, 1);
    sum += __shfl_xor_sync(ALL_LANES, sum, 2);
    if (eight % 4 == 0 && eight < padded / 8) sums[eight / 4] = sum;
  }
}
