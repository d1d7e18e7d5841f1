// Products of rows and a matrix of one format, FORMAT, on the ordinary units in float32: of float32 only, as others are on tensor
// cores.
#include "outputs.cuh"
#include "products.cuh"

struct LinearParams {
  Rows x;
  Rows bias;
  Rows out;
  const u8* weight;
  long long rowBytes;
  int T;
  int K;
  int N;
  int hasBias;
  int isAligned;
  int hasAddend;
  Rows addend;
  Rows sum;
  int isScaled;
  float scale;
  Rows scaled;
  Rows convWeight;
  Rows convBias;
  Rows convOut;
  float* convStates;
  long long convStateStride;
  const int* convSlots;
  int convFirst;
  int convChannels;
  int convK;
  int convW;
  int convIsSilu;
  int hasConvBias;
};

template <int F, int R, int O>
static __device__ __forceinline__ void linear(const LinearParams& p) {
  const int tiles = (p.N + 4 * O - 1) / (4 * O);
  const int first = (blockIdx.x % tiles * 4 + threadIdx.x / 32) * O;
  const long long firstRow = (long long)(blockIdx.x / tiles) * R;
  // Weights for a single row are fetched while the kernel before runs.
  for (int o = 0; R == 1 && o < O && first + o < p.N; o++) {
    const u8* weights = p.weight + (first + o) * p.rowBytes;
    for (long long at = 128 * (threadIdx.x % 32); at < p.rowBytes; at += 128 * 32) fetch_early(weights + at);
  }
  await_previous();
  if (first >= p.N) return;
  const float* x[R];
#pragma unroll
  for (int r = 0; r < R; r++) x[r] = p.x.at + (firstRow + r < p.T ? firstRow + r : firstRow) * p.x.stride;
  float sums[R][O];
  products<F, R, O>(p.weight + first * p.rowBytes, p.rowBytes, p.N - first, x, p.isAligned, p.K, sums);
  const int lane = threadIdx.x % 32;
  float own = 0;
#pragma unroll
  for (int r = 0; r < R; r++) {
#pragma unroll
    for (int o = 0; o < O; o++) own = lane == r * O + o ? sums[r][o] : own;
  }
  const long long row = firstRow + lane / O;
  const int output = first + lane % O;
  if (lane < R * O && row < p.T && output < p.N) put_output<true>(p, row, output, own);
}

// out = x Wᵀ + bias. x (T, K), W (N, K) in rows of `rowBytes`, out (T, N). Grid: tiles of 4 * 2 outputs for each row, or of 4 * 4
// outputs for 8 rows each; blocks of 128.
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(linear_vector)(const LinearParams p) { linear<FORMAT, 1, 2>(p); }
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(linear_rows)(const LinearParams p) { linear<FORMAT, 8, 4>(p); }
