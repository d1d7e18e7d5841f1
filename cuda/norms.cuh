// Norms of rows by blocks of 256 threads, with what comes before and after them.
#pragma once
#include "quads.cuh"

#define ROW_THREADS 256
// Quads of a row that a thread keeps in registers: rows of 4,096 columns lie there whole.
#define KEPT 4

// The largest value of a block, for all its threads. `mosts` holds a float for each warp, and is not used otherwise.
static __device__ __forceinline__ float block_max_once(float v, float* mosts) {
  v = warp_max(v);
  if (threadIdx.x % 32 == 0) mosts[threadIdx.x / 32] = v;
  __syncthreads();
  float most = mosts[0];
  for (int w = 1; w < (int)blockDim.x / 32; w++) most = fmaxf(most, mosts[w]);
  return most;
}

// What a value is multiplied by: 1 / sqrt(mean square + eps).
static __device__ __forceinline__ float inverse_root(float squareSum, float count, float eps) {
  return 1.0f / sqrtf(squareSum / count + eps);
}

// Columns c to c + 3 of a vector of C.
static __device__ __forceinline__ void load_weights(const Rows& weight, int c, int C, float* v) {
  if (weight.stride == 1) {
    load_quad(weight.at, c, C, v);
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = c + i < C ? vector_at(weight, c + i) : 0.0f;
  }
}

static __device__ __forceinline__ float magnitude_of(const float* v) {
  return fmaxf(fmaxf(fabsf(v[0]), fabsf(v[1])), fmaxf(fabsf(v[2]), fabsf(v[3])));
}

// Zeros from C on, up to a whole number of the tensor cores' steps.
static __device__ __forceinline__ void put_padding(const Parts& parts, int C, int padded) {
  const float zeros[4] = {0, 0, 0, 0};
  const int c = (C + 3) / 4 * 4 + 4 * threadIdx.x;
  if (c < padded) put_parts(parts, c, zeros, 1.0f, true);
}

struct RmsNormParams {
  Rows x;
  Rows addend;
  Rows sum;
  Rows weight;
  Rows out;
  u32* parts;
  float* factors;
  int C;
  int padded;
  int isFloat16;
  int hasAddend;
  int numParts;
  int partsAreInBlocks;
  float eps;
};

// out = y / sqrt(mean(y²) + eps) * weight, where y is x, or with an addend sum = x + addend. With parts, they are out's as
// split_rows makes them, and their factor is returned. x, addend, sum, out (T, C), weight (C). Thread i of 256 sums columns 4 i to
// 4 i + 3, and those a multiple of 1,024 further on. What does not write, or has no `out`, takes rows of up to 4,096 columns.
static __device__ __forceinline__ float norm_row(const RmsNormParams& p, long long t, const Parts& parts, bool writes) {
  __shared__ float sums[ROW_THREADS / 32];
  __shared__ float mosts[ROW_THREADS / 32];
  const float* x = p.x.at + t * p.x.stride;
  const float* addend = p.addend.at + t * p.addend.stride;
  float* added = p.sum.at + t * p.sum.stride;
  float* out = p.out.at + t * p.out.stride;
  float kept[KEPT][4], weights[KEPT][4];
  float squares = 0;
  auto read = [&](int c, float* v) {
    load_quad(x, c, p.C, v);
    if (!p.hasAddend) return;
    float other[4];
    load_quad(addend, c, p.C, other);
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = __fadd_rn(v[i], other[i]);
  };
  auto square = [&](int c, const float* v) {
    if (writes && p.hasAddend) store_quad(added, c, p.C, v);
#pragma unroll
    for (int i = 0; i < 4; i++) squares = fmaf(v[i], v[i], squares);
  };
#pragma unroll
  for (int q = 0; q < KEPT; q++) {
    const int c = 4 * (threadIdx.x + ROW_THREADS * q);
    if (c < p.C) load_weights(p.weight, c, p.C, weights[q]);
  }
  await_previous();
#pragma unroll
  for (int q = 0; q < KEPT; q++) {
    const int c = 4 * (threadIdx.x + ROW_THREADS * q);
    if (c < p.C) read(c, kept[q]);
  }
#pragma unroll
  for (int q = 0; q < KEPT; q++) {
    const int c = 4 * (threadIdx.x + ROW_THREADS * q);
    if (c < p.C) square(c, kept[q]);
  }
  for (int c = 4 * (threadIdx.x + ROW_THREADS * KEPT); c < p.C; c += 4 * ROW_THREADS) {
    float v[4];
    read(c, v);
    square(c, v);
  }
  const float inverseRoot = inverse_root(block_sum_once(squares, sums), (float)p.C, p.eps);
  float most = 0;
  auto scale = [&](int c, float* v, const float* weight) {
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = __fmul_rn(__fmul_rn(v[i], inverseRoot), weight[i]);
    if (writes && p.out.at) store_quad(out, c, p.C, v);
    most = fmaxf(most, magnitude_of(v));
  };
#pragma unroll
  for (int q = 0; q < KEPT; q++) {
    const int c = 4 * (threadIdx.x + ROW_THREADS * q);
    if (c < p.C) scale(c, kept[q], weights[q]);
    else kept[q][0] = kept[q][1] = kept[q][2] = kept[q][3] = 0;
  }
  for (int c = 4 * (threadIdx.x + ROW_THREADS * KEPT); c < p.C; c += 4 * ROW_THREADS) {
    float v[4], weight[4];
    if (p.hasAddend) load_quad(added, c, p.C, v);
    else read(c, v);
    load_weights(p.weight, c, p.C, weight);
    scale(c, v, weight);
  }
  if (p.numParts == 0) return 1.0f;
  const float factor = p.isFloat16 ? split_factor(block_max_once(most, mosts)) : 1.0f;
  const float inverse = 1.0f / factor;
  // Up to `padded`: those of a warp go together.
#pragma unroll
  for (int q = 0; q < KEPT; q++) {
    const int c = 4 * (threadIdx.x + ROW_THREADS * q);
    if (first_of_warp(c) < p.padded) put_warp_parts(parts, c, p.padded, kept[q], inverse, p.isFloat16, p.numParts);
  }
  for (int c = 4 * (threadIdx.x + ROW_THREADS * KEPT); first_of_warp(c) < p.padded; c += 4 * ROW_THREADS) {
    float v[4];
    load_quad(out, c, p.C, v);
    put_warp_parts(parts, c, p.padded, v, inverse, p.isFloat16, p.numParts);
  }
  return factor;
}

#define MOST_GROUPS 64

struct GatedNormParams {
  Rows x;
  Rows z;
  Rows gated;
  Rows squareSums;
  Rows weight;
  Rows out;
  u32* parts;
  float* factors;
  int C;
  int groups;
  int groupSize;
  int padded;
  int isFloat16;
  int numParts;
  int partsAreInBlocks;
  float count;
  float eps;
};

// What the gate, group_square_sums, scale_by_group_norm and split_rows do one after another, to all columns of a row's groups.
// x, z, gated, out (T, C), squareSums (T, groups), weight (C). Which of gated, squareSums and out is missing is not written.
// `row` has room for C floats in shared memory. Columns that are not four to a group are loaded one by one.
static __device__ __forceinline__ float gated_norm_row(
    const GatedNormParams& p, long long t, float* row, const Parts& parts, bool writes) {
  __shared__ float sums[MOST_GROUPS][ROW_THREADS / 32];
  __shared__ float mosts[ROW_THREADS / 32];
  const float* x = p.x.at + t * p.x.stride;
  const float* z = p.z.at + t * p.z.stride;
  float* gated = p.gated.at + t * p.gated.stride;
  float* out = p.out.at + t * p.out.stride;
  const int size = p.groupSize;
  // Of a single group, the weights of the columns that come first.
  float early[KEPT][4];
  const bool hasEarly = p.groups == 1;
#pragma unroll
  for (int q = 0; q < KEPT; q++) {
    const int c = 4 * (threadIdx.x + ROW_THREADS * q);
    if (hasEarly && c < size) load_weights(p.weight, c, size, early[q]);
  }
  for (int c = hasEarly ? 4 * ROW_THREADS * KEPT : 0; c + 32 * (int)threadIdx.x < p.C; c += 32 * ROW_THREADS) {
    fetch_early(p.weight.at + (c + 32ll * threadIdx.x) * p.weight.stride);
  }
  await_previous();
  for (int group = 0; group < p.groups; group++) {
    const int begin = group * size;
    float sum = 0;
    // Some columns' loads are on their way together: none may follow a store that it might depend on.
    for (int first = 4 * threadIdx.x; first < size; first += 4 * ROW_THREADS * KEPT) {
      float v[KEPT][4], gate[KEPT][4];
#pragma unroll
      for (int q = 0; q < KEPT; q++) {
        const int c = first + 4 * ROW_THREADS * q;
        if (c >= size) continue;
        load_quad(x + begin, c, size, v[q]);
        load_quad(z + begin, c, size, gate[q]);
      }
#pragma unroll
      for (int q = 0; q < KEPT; q++) {
        const int c = first + 4 * ROW_THREADS * q;
        if (c >= size) continue;
#pragma unroll
        for (int i = 0; i < 4; i++) v[q][i] = __fmul_rn(v[q][i], silu(gate[q][i]));
        if (writes && p.gated.at) store_quad(gated + begin, c, size, v[q]);
        store_quad(row + begin, c, size, v[q]);
#pragma unroll
        for (int i = 0; i < 4; i++) sum = fmaf(v[q][i], v[q][i], sum);
      }
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[group][threadIdx.x / 32] = sum;
  }
  __syncthreads();
  float most = 0;
  for (int group = 0; group < p.groups; group++) {
    const int begin = group * size;
    float total = 0;
#pragma unroll
    for (int w = 0; w < ROW_THREADS / 32; w++) total += sums[group][w];
    if (writes && p.squareSums.at && threadIdx.x == 0) p.squareSums.at[t * p.squareSums.stride + group] = total;
    const float inverseRoot = inverse_root(total, p.count, p.eps);
    const Rows weights = {p.weight.at + begin * p.weight.stride, p.weight.stride};
    for (int first = 4 * threadIdx.x; first < size; first += 4 * ROW_THREADS * KEPT) {
      float v[KEPT][4], weight[KEPT][4];
#pragma unroll
      for (int q = 0; q < KEPT; q++) {
        const int c = first + 4 * ROW_THREADS * q;
        if (c >= size) continue;
        load_quad(row + begin, c, size, v[q]);
        if (hasEarly && first < 4 * ROW_THREADS) {
#pragma unroll
          for (int i = 0; i < 4; i++) weight[q][i] = early[q][i];
        } else {
          load_weights(weights, c, size, weight[q]);
        }
      }
#pragma unroll
      for (int q = 0; q < KEPT; q++) {
        const int c = first + 4 * ROW_THREADS * q;
        if (c >= size) continue;
#pragma unroll
        for (int i = 0; i < 4; i++) v[q][i] = __fmul_rn(__fmul_rn(v[q][i], inverseRoot), weight[q][i]);
        if (writes && p.out.at) store_quad(out + begin, c, size, v[q]);
        store_quad(row + begin, c, size, v[q]);
        most = fmaxf(most, magnitude_of(v[q]));
      }
    }
  }
  if (p.numParts == 0) return 1.0f;
  // Also: all have put their columns into the row.
  const float factor = p.isFloat16 ? split_factor(block_max_once(most, mosts)) : 1.0f;
  if (!p.isFloat16) __syncthreads();
  const float inverse = 1.0f / factor;
  for (int c = 4 * threadIdx.x; first_of_warp(c) < p.padded; c += 4 * ROW_THREADS) {
    float v[4];
    load_quad(row, c, p.C, v);
    put_warp_parts(parts, c, p.padded, v, inverse, p.isFloat16, p.numParts);
  }
  return factor;
}
