// Norms over whole rows or groups of columns.
#include "common.cuh"

struct RmsNormParams {
  Rows x;
  Rows weight;
  Rows out;
  int C;
  float eps;
};

// out = x / sqrt(mean(x²) + eps) * weight. x, out (T, C), weight (C). Grid: a block of 256 a row.
extern "C" __global__ void __launch_bounds__(256) rms_norm(const RmsNormParams p) {
  __shared__ float sums[8];
  const long long t = blockIdx.x;
  float sum = 0;
  for (int c = threadIdx.x; c < p.C; c += 256) {
    float v = element(p.x, t, c);
    sum = fmaf(v, v, sum);
  }
  float root = sqrtf(block_sum(sum, sums) / (float)p.C + p.eps);
  for (int c = threadIdx.x; c < p.C; c += 256) {
    p.out.at[t * p.out.stride + c] = element(p.x, t, c) / root * vector_at(p.weight, c);
  }
}

struct GroupSquareSumsParams {
  Rows v;
  Rows out;
  int C;
  int groups;
  int firstColumn;
  int groupSize;
};

// out[t, g] = Σ v[t, c]² over the columns c of group g that lie in v, whose first is column `firstColumn` of the row.
// v (T, C), out (T, groups). Grid: (groups, T), blocks of 128.
extern "C" __global__ void __launch_bounds__(128) group_square_sums(const GroupSquareSumsParams p) {
  __shared__ float sums[4];
  const int group = blockIdx.x % p.groups;
  const long long t = blockIdx.x / p.groups;
  const long long first = (long long)group * p.groupSize - p.firstColumn;
  const int begin = first < 0 ? 0 : first > p.C ? p.C : (int)first;
  const long long last = first + p.groupSize;
  const int end = last < 0 ? 0 : last > p.C ? p.C : (int)last;
  float sum = 0;
  for (int c = begin + threadIdx.x; c < end; c += 128) {
    float v = element(p.v, t, c);
    sum = fmaf(v, v, sum);
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
  float root = sqrtf(element(p.squareSums, t, (p.firstColumn + c) / p.groupSize) / p.count + p.eps);
  float v = element(p.v, t, c) / root;
  p.out.at[t * p.out.stride + c] = p.hasWeight ? v * vector_at(p.weight, c) : v;
}
