// Norms over whole rows or groups of columns.
#include "norms.cuh"

// Grid: a block of 256 a row: see norm_row.
extern "C" __global__ void __launch_bounds__(256) rms_norm(const RmsNormParams p) {
  const long long t = blockIdx.x;
  const float factor = norm_row(p, t, parts_of(p.parts, t, p.padded, p.partsAreInBlocks), true);
  if (p.hasParts && threadIdx.x == 0) p.factors[t] = factor;
}

// Whether a row's columns are a single group that the registers of a block have room for, and all quads of them are aligned.
static __device__ __forceinline__ bool is_kept(const GatedNormParams& p) {
  const u64 places = (u64)p.x.at | (u64)p.z.at | (u64)p.gated.at | (u64)p.out.at | (u64)p.weight.at;
  const long long strides = p.x.stride | p.z.stride | p.gated.stride | p.out.stride;
  const bool isAligned = places % 16 == 0 && strides % 4 == 0 && p.C % 4 == 0 && p.weight.stride == 1;
  return p.groups == 1 && p.C <= 4 * ROW_THREADS * KEPT && isAligned;
}

// What gated_norm_row does to such a row.
static __device__ __forceinline__ float gated_norm_kept(const GatedNormParams& p, long long t, const Parts& parts) {
  __shared__ float sums[ROW_THREADS / 32];
  __shared__ float mosts[ROW_THREADS / 32];
  const float* x = p.x.at + t * p.x.stride;
  const float* z = p.z.at + t * p.z.stride;
  float* gated = p.gated.at + t * p.gated.stride;
  float* out = p.out.at + t * p.out.stride;
  float4 v[KEPT], gate[KEPT], weights[KEPT];
#pragma unroll
  for (int q = 0; q < KEPT; q++) {
    const int c = 4 * (threadIdx.x + ROW_THREADS * q);
    if (c < p.C) weights[q] = *(const float4*)(p.weight.at + c);
  }
  await_previous();
#pragma unroll
  for (int q = 0; q < KEPT; q++) {
    const int c = 4 * (threadIdx.x + ROW_THREADS * q);
    if (c < p.C) v[q] = *(const float4*)(x + c), gate[q] = *(const float4*)(z + c);
  }
  float sum = 0;
#pragma unroll
  for (int q = 0; q < KEPT; q++) {
    const int c = 4 * (threadIdx.x + ROW_THREADS * q);
    if (c >= p.C) continue;
    float* own = &v[q].x;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      own[i] = __fmul_rn(own[i], silu((&gate[q].x)[i]));
      sum = fmaf(own[i], own[i], sum);
    }
    *(float4*)(gated + c) = v[q];
  }
  const float total = block_sum_once(sum, sums);
  if (threadIdx.x == 0) p.squareSums.at[t * p.squareSums.stride] = total;
  const float inverseRoot = inverse_root(total, p.count, p.eps);
  float most = 0;
#pragma unroll
  for (int q = 0; q < KEPT; q++) {
    const int c = 4 * (threadIdx.x + ROW_THREADS * q);
    if (c >= p.C) continue;
    float* own = &v[q].x;
#pragma unroll
    for (int i = 0; i < 4; i++) own[i] = __fmul_rn(__fmul_rn(own[i], inverseRoot), (&weights[q].x)[i]);
    *(float4*)(out + c) = v[q];
    most = fmaxf(most, magnitude_of(own));
  }
  if (!p.hasParts) return 1.0f;
  const float factor = p.isFloat16 ? split_factor(block_max_once(most, mosts)) : 1.0f;
  const float inverse = 1.0f / factor;
#pragma unroll
  for (int q = 0; q < KEPT; q++) {
    const int c = 4 * (threadIdx.x + ROW_THREADS * q);
    if (c < p.C) put_parts(parts, c, &v[q].x, inverse, p.isFloat16);
  }
  put_padding(parts, p.C, p.padded);
  return factor;
}

// Grid: a block of 256 a row, with C floats of shared memory: see gated_norm_row.
extern "C" __global__ void __launch_bounds__(256) gated_norm(const GatedNormParams p) {
  SHARED_BY_LAUNCH(shared);
  const long long t = blockIdx.x;
  const Parts parts = parts_of(p.parts, t, p.padded, p.partsAreInBlocks);
  const float factor = is_kept(p) ? gated_norm_kept(p, t, parts) : gated_norm_row(p, t, (float*)shared, parts, true);
  if (p.hasParts && threadIdx.x == 0) p.factors[t] = factor;
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
