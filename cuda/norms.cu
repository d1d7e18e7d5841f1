// Norms over whole rows or groups of columns.
#include "norms.cuh"

// Grid: a block of 256 a row: see norm_row.
extern "C" __global__ void __launch_bounds__(256) rms_norm(const RmsNormParams p) {
  const long long t = blockIdx.x;
  const float factor = norm_row(p, t, parts_of(p.parts, t, p.padded, p.partsAreInBlocks), true);
  if (p.numParts > 0 && threadIdx.x == 0) p.factors[t] = factor;
}

// Rows whose quads are all aligned, and that lie whole in the registers of a block, QUADS times four columns in each thread: many of
// them run at a time.

// Puts the parts of row t, whose quads threads have: `most` is the largest magnitude of a thread's.
template <int QUADS, class Params>
static __device__ __forceinline__ void put_kept(const Params& p, long long t, const float4* v, float most) {
  __shared__ float mosts[ROW_THREADS / 32];
  const float factor = p.isFloat16 ? split_factor(block_max_once(most, mosts)) : 1.0f;
  const float inverse = 1.0f / factor;
  const Parts parts = parts_of(p.parts, t, p.padded, p.partsAreInBlocks);
#pragma unroll
  for (int q = 0; q < QUADS; q++) {
    const int c = 4 * (threadIdx.x + ROW_THREADS * q);
    if (first_of_warp(c) < p.padded) put_warp_parts(parts, c, p.padded, &v[q].x, inverse, p.isFloat16, p.numParts);
  }
  if (threadIdx.x == 0) p.factors[t] = factor;
}

// See norm_row.
template <int QUADS>
static __device__ __forceinline__ void norm_kept(const RmsNormParams& p) {
  __shared__ float sums[ROW_THREADS / 32];
  const int COLUMNS = 4 * ROW_THREADS;
  const long long t = blockIdx.x;
  const float* x = p.x.at + t * p.x.stride;
  const float* addend = p.addend.at + t * p.addend.stride;
  float* sum = p.sum.at + t * p.sum.stride;
  float* out = p.out.at + t * p.out.stride;
  float4 v[QUADS], weights[QUADS];
#pragma unroll
  for (int q = 0; q < QUADS; q++) {
    const int c = 4 * threadIdx.x + COLUMNS * q;
    if (c < p.C) weights[q] = *(const float4*)(p.weight.at + c);
  }
  await_previous();
#pragma unroll
  for (int q = 0; q < QUADS; q++) {
    const int c = 4 * threadIdx.x + COLUMNS * q;
    v[q] = c < p.C ? *(const float4*)(x + c) : make_float4(0, 0, 0, 0);
  }
  float squares = 0;
#pragma unroll
  for (int q = 0; q < QUADS; q++) {
    const int c = 4 * threadIdx.x + COLUMNS * q;
    float* own = &v[q].x;
    if (p.hasAddend && c < p.C) {
      const float4 other = *(const float4*)(addend + c);
#pragma unroll
      for (int i = 0; i < 4; i++) own[i] = __fadd_rn(own[i], (&other.x)[i]);
      *(float4*)(sum + c) = v[q];
    }
#pragma unroll
    for (int i = 0; i < 4; i++) squares = fmaf(own[i], own[i], squares);
  }
  const float inverseRoot = inverse_root(block_sum_once(squares, sums), (float)p.C, p.eps);
  float most = 0;
#pragma unroll
  for (int q = 0; q < QUADS; q++) {
    const int c = 4 * threadIdx.x + COLUMNS * q;
    if (c >= p.C) continue;
    float* own = &v[q].x;
#pragma unroll
    for (int i = 0; i < 4; i++) own[i] = __fmul_rn(__fmul_rn(own[i], inverseRoot), (&weights[q].x)[i]);
    if (p.out.at) *(float4*)(out + c) = v[q];
    most = fmaxf(most, magnitude_of(own));
  }
  if (p.numParts != 0) put_kept<QUADS>(p, t, v, most);
}

// See gated_norm_row; a group is all of the row, or a multiple of 1,024 columns. The weights come to registers before everything else,
// or with IS_SPARING in place of the gate.
template <int QUADS, bool IS_SPARING>
static __device__ __forceinline__ void gated_norm_kept(const GatedNormParams& p) {
  __shared__ float sums[QUADS][ROW_THREADS / 32];
  const int COLUMNS = 4 * ROW_THREADS;
  const long long t = blockIdx.x;
  const float* x = p.x.at + t * p.x.stride;
  const float* z = p.z.at + t * p.z.stride;
  float* gated = p.gated.at + t * p.gated.stride;
  float* out = p.out.at + t * p.out.stride;
  float4 v[QUADS], gate[QUADS], weights[QUADS];
  auto load_weights = [&]() {
#pragma unroll
    for (int q = 0; q < QUADS; q++) {
      const int c = 4 * threadIdx.x + COLUMNS * q;
      if (c < p.C) weights[q] = *(const float4*)(p.weight.at + c);
    }
  };
  if (!IS_SPARING) load_weights();
  await_previous();
#pragma unroll
  for (int q = 0; q < QUADS; q++) {
    const int c = 4 * threadIdx.x + COLUMNS * q;
    if (c < p.C) v[q] = *(const float4*)(x + c), gate[q] = *(const float4*)(z + c);
    else v[q] = gate[q] = make_float4(0, 0, 0, 0);
  }
  float sum = 0;
  int group = 0, left = p.groupSize;
#pragma unroll
  for (int q = 0; q < QUADS; q++) {
    const int c = 4 * threadIdx.x + COLUMNS * q;
    if (COLUMNS * q >= p.C) continue;
    float* own = &v[q].x;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      own[i] = __fmul_rn(own[i], silu((&gate[q].x)[i]));
      sum = fmaf(own[i], own[i], sum);
    }
    if (p.gated.at && c < p.C) *(float4*)(gated + c) = v[q];
    left -= COLUMNS;
    if (left > 0) continue;
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[group][threadIdx.x / 32] = sum;
    sum = 0, left = p.groupSize, group++;
  }
  if (IS_SPARING) load_weights();
  __syncthreads();
  float most = 0, inverseRoot = 0;
  group = 0, left = 0;
#pragma unroll
  for (int q = 0; q < QUADS; q++) {
    const int c = 4 * threadIdx.x + COLUMNS * q;
    if (COLUMNS * q >= p.C) continue;
    if (left <= 0) {
      float total = 0;
#pragma unroll
      for (int w = 0; w < ROW_THREADS / 32; w++) total += sums[group][w];
      if (p.squareSums.at && threadIdx.x == 0) p.squareSums.at[t * p.squareSums.stride + group] = total;
      inverseRoot = inverse_root(total, p.count, p.eps);
      left = p.groupSize, group++;
    }
    left -= COLUMNS;
    if (c >= p.C) continue;
    float* own = &v[q].x;
#pragma unroll
    for (int i = 0; i < 4; i++) own[i] = __fmul_rn(__fmul_rn(own[i], inverseRoot), (&weights[q].x)[i]);
    if (p.out.at) *(float4*)(out + c) = v[q];
    most = fmaxf(most, magnitude_of(own));
  }
  if (p.numParts != 0) put_kept<QUADS>(p, t, v, most);
}

// Rows of up to so many columns. Grid: a block of 256 a row.
extern "C" __global__ void __launch_bounds__(256, 8) rms_norm_1024(const RmsNormParams p) { norm_kept<1>(p); }
extern "C" __global__ void __launch_bounds__(256, 5) rms_norm_3072(const RmsNormParams p) { norm_kept<3>(p); }
extern "C" __global__ void __launch_bounds__(256, 5) gated_norm_2048(const GatedNormParams p) { gated_norm_kept<2, false>(p); }
extern "C" __global__ void __launch_bounds__(256, 4) gated_norm_4096(const GatedNormParams p) { gated_norm_kept<4, false>(p); }
extern "C" __global__ void __launch_bounds__(256, 4) gated_norm_5120(const GatedNormParams p) { gated_norm_kept<5, true>(p); }
extern "C" __global__ void __launch_bounds__(256, 3) gated_norm_8192(const GatedNormParams p) { gated_norm_kept<8, true>(p); }

// Rows of any other kind. Grid: a block of 256 a row, with C floats of shared memory: see gated_norm_row.
extern "C" __global__ void __launch_bounds__(256) gated_norm(const GatedNormParams p) {
  SHARED_BY_LAUNCH(shared);
  const long long t = blockIdx.x;
  const Parts parts = parts_of(p.parts, t, p.padded, p.partsAreInBlocks);
  const float factor = gated_norm_row(p, t, (float*)shared, parts, true);
  if (p.numParts > 0 && threadIdx.x == 0) p.factors[t] = factor;
}

struct GroupSquareSumsParams {
  Rows v;
  Rows out;
  int C;
  int groups;
  int firstColumn;
  int groupSize;
};

// out[t, g] = Σ v[t, c]² over the columns c of group g that lie in v, whose first is column `firstColumn` of the row. Thread i sums
// columns 4 i to 4 i + 3 of the group, and those a multiple of 1,024 further on. v (T, C), out (T, groups). Grid: (groups, T),
// blocks of 256.
extern "C" __global__ void __launch_bounds__(256) group_square_sums(const GroupSquareSumsParams p) {
  __shared__ float sums[ROW_THREADS / 32];
  const int group = blockIdx.x % p.groups;
  const long long t = blockIdx.x / p.groups;
  const long long first = (long long)group * p.groupSize - p.firstColumn;
  const int begin = first < 0 ? 0 : first > p.C ? p.C : (int)first;
  const long long last = first + p.groupSize;
  const int end = last < 0 ? 0 : last > p.C ? p.C : (int)last;
  const float* v = p.v.at + t * p.v.stride + begin;
  float sum = 0;
  for (int c = 4 * threadIdx.x; c < end - begin; c += 4 * ROW_THREADS) {
    float quad[4];
    load_quad(v, c, end - begin, quad);
#pragma unroll
    for (int i = 0; i < 4; i++) sum = fmaf(quad[i], quad[i], sum);
  }
  sum = block_sum(sum, sums);
  if (threadIdx.x == 0) p.out.at[t * p.out.stride + group] = sum;
}

struct ScaleByGroupNormParams {
  Rows v;
  Rows squareSums;
  Rows weight;
  Rows out;
  int T;
  int C;
  int firstColumn;
  int groupSize;
  float count;
  float eps;
  int hasWeight;
};

// out = v / sqrt(squareSums / count + eps) * weight, with the sum of each column's group.
// v, out (T, C), squareSums (T, groups), weight (C). Grid: an element a thread, blocks of 256.
extern "C" __global__ void __launch_bounds__(256) scale_by_group_norm(const ScaleByGroupNormParams p) {
  long long t;
  int c;
  if (!element_of(p.T, p.C, t, c)) return;
  const float sum = element(p.squareSums, t, (p.firstColumn + c) / p.groupSize);
  const float v = __fmul_rn(element(p.v, t, c), inverse_root(sum, p.count, p.eps));
  p.out.at[t * p.out.stride + c] = p.hasWeight ? __fmul_rn(v, vector_at(p.weight, c)) : v;
}
