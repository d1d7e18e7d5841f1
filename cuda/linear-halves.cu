// Products of rows and a matrix of float16 or bfloat16, FORMAT, on tensor cores, with sums in float32. Rows are sums of two
// numbers of that format each, see split_rows, so that they lose next to nothing. It is compiled once for each format.
//
// The inputs are four slices of whole 32s. An output sums each slice in the order of inputs, then the slices in their order:
// the same for every number of rows. Of 32 inputs lane 4 g + t has eight neighbours, 8 t to 8 t + 7, of its rows and outputs,
// so that all loads are of 16 bytes; which inputs a multiplication takes together does not matter to it.
#include "weights.cuh"

#define SLICES 4

struct LinearHalvesParams {
  const u16* x;
  const float* factors;
  Rows bias;
  Rows out;
  const u8* weight;
  long long rowBytes;
  int T;
  int K;
  int N;
  int padded;
  int hasBias;
};

static __device__ __forceinline__ void multiply(float* sums, const u32* a, const u32* b) {
  if (FORMAT == FLOAT16) multiply_halves(sums, a, b);
  else multiply_bfloats(sums, a, b);
}

// Eight weights, zeros beyond the last: a[0] and a[2] for one multiplication, a[4] and a[6] for the next. Something is loaded in
// any case, because a branch would keep loads from being on their way together.
static __device__ __forceinline__ void load_weights(const u8* row, int eight, int eights, u32* a) {
  const bool isInside = eight < eights;
  const uint4 v = load_early(row + (isInside ? 16ll * eight : 0));
  a[0] = isInside ? v.x : 0, a[2] = isInside ? v.y : 0, a[4] = isInside ? v.z : 0, a[6] = isInside ? v.w : 0;
}

// Adds U times 32 inputs, as far as they lie before `end`, to the sums of M times 16 outputs and R times 8 rows of a warp. All
// loads are on their way before the first multiplication.
template <int M, int R, int U>
static __device__ __forceinline__ void add_inputs(
    const u8* const (*weights)[2], const u16* const* x, int k, int end, int eights, float (*sums)[R][4]) {
  u32 a[U][M][8];
  uint4 b[U][R][2];
#pragma unroll
  for (int u = 0; u < U; u++) {
    const int eight = k / 8 + 4 * u + threadIdx.x % 4;
    const bool isInside = U == 1 || k + 32 * u < end;
#pragma unroll
    for (int m = 0; m < M; m++) {
      load_weights(weights[m][0], eight, isInside ? eights : 0, a[u][m]);
      load_weights(weights[m][1], eight, isInside ? eights : 0, a[u][m] + 1);
    }
#pragma unroll
    for (int r = 0; r < R; r++) {
      const u16* parts = x[r] + (isInside ? 16 * eight : 0);
      b[u][r][0] = load_early(parts);
      b[u][r][1] = load_early(parts + 8);
    }
  }
#pragma unroll
  for (int u = 0; u < U; u++) {
#pragma unroll
    for (int part = 0; part < 2; part++) {
#pragma unroll
      for (int m = 0; m < M; m++) {
#pragma unroll
        for (int r = 0; r < R; r++) {
          const uint4 v = b[u][r][part];
          const u32 first[2] = {v.x, v.y}, second[2] = {v.z, v.w};
          multiply(sums[m][r], a[u][m], first);
          multiply(sums[m][r], a[u][m] + 4, second);
        }
      }
    }
  }
}

// The rows and outputs of a warp. Those beyond the last are the last again.
template <int M, int R>
static __device__ __forceinline__ void find_operands(
    const LinearHalvesParams& p, int output, int row, const u8* (*weights)[2], const u16** x) {
  const int g = threadIdx.x % 32 / 4;
#pragma unroll
  for (int m = 0; m < M; m++) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int n = output + 16 * m + 8 * i + g;
      weights[m][i] = p.weight + (n < p.N ? n : p.N - 1) * p.rowBytes;
    }
  }
#pragma unroll
  for (int r = 0; r < R; r++) {
    const int t = row + 8 * r + g;
    x[r] = p.x + (long long)(t < p.T ? t : p.T - 1) * 2 * p.padded;
  }
}

template <int M, int R>
static __device__ __forceinline__ void store_sums(const LinearHalvesParams& p, int output, int row, float (*sums)[R][4]) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
  for (int r = 0; r < R; r++) {
#pragma unroll
    for (int j = 0; j < 2; j++) {
      const int at = row + 8 * r + 2 * t + j;
      if (at >= p.T) continue;
      const float factor = p.factors[at];
      float* out = p.out.at + at * p.out.stride;
#pragma unroll
      for (int m = 0; m < M; m++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
          const int n = output + 16 * m + 8 * i + g;
          if (n >= p.N) continue;
          const float v = sums[m][r][2 * i + j] * factor;
          out[n] = p.hasBias ? v + vector_at(p.bias, n) : v;
        }
      }
    }
  }
}

static __device__ __forceinline__ int slice_of(int padded) { return (padded / 32 + SLICES - 1) / SLICES * 32; }

// A warp for each slice of M times 16 outputs, and W of them.
template <int M, int R, int W, int U>
static __device__ __forceinline__ void linear_few(const LinearHalvesParams& p) {
  __shared__ float slices[W][SLICES - 1][M * R * 4][32];
  const int lane = threadIdx.x % 32, slice = threadIdx.x / 32 % SLICES, group = threadIdx.x / 32 / SLICES;
  const int tiles = (p.N + 16 * M * W - 1) / (16 * M * W);
  const int output = (blockIdx.x % tiles * W + group) * 16 * M;
  const int row = blockIdx.x / tiles * 8 * R;
  const u8* weights[M][2];
  const u16* x[R];
  find_operands<M, R>(p, output, row, weights, x);
  float sums[M][R][4] = {};
  const int size = slice_of(p.padded);
  const int end = (slice + 1) * size < p.padded ? (slice + 1) * size : p.padded;
#pragma unroll 1
  for (int k = slice * size; k < end; k += 32 * U) add_inputs<M, R, U>(weights, x, k, end, (p.K + 7) / 8, sums);
  float* own = &sums[0][0][0];
  if (slice > 0) {
#pragma unroll
    for (int i = 0; i < M * R * 4; i++) slices[group][slice - 1][i][lane] = own[i];
  }
  __syncthreads();
  if (slice > 0) return;
#pragma unroll
  for (int s = 0; s < SLICES - 1; s++) {
#pragma unroll
    for (int i = 0; i < M * R * 4; i++) own[i] += slices[group][s][i][lane];
  }
  store_sums<M, R>(p, output, row, sums);
}

// Slices one after another: 128 outputs and 64 rows in eight warps of 32 and 32.
static __device__ __forceinline__ void linear_many(const LinearHalvesParams& p) {
  const int warp = threadIdx.x / 32;
  const int rows = (p.T + 63) / 64;
  // Blocks that run together share outputs' weights.
  const int output = blockIdx.x / rows * 128 + warp % 4 * 32;
  const int row = blockIdx.x % rows * 64 + warp / 4 * 32;
  if (output >= p.N || row >= p.T) return;
  const u8* weights[2][2];
  const u16* x[4];
  find_operands<2, 4>(p, output, row, weights, x);
  float totals[2][4][4] = {};
  const int size = slice_of(p.padded);
  for (int slice = 0; slice < SLICES; slice++) {
    float sums[2][4][4] = {};
    const int end = (slice + 1) * size < p.padded ? (slice + 1) * size : p.padded;
#pragma unroll 1
    for (int k = slice * size; k < end; k += 32) add_inputs<2, 4, 1>(weights, x, k, end, (p.K + 7) / 8, sums);
    const float* own = &sums[0][0][0];
    float* all = &totals[0][0][0];
#pragma unroll
    for (int i = 0; i < 32; i++) all[i] = slice == 0 ? own[i] : all[i] + own[i];
  }
  store_sums<2, 4>(p, output, row, totals);
}

// out = x Wᵀ + bias. x (T, 2 * padded) of split_rows, W (N, K) in rows of `rowBytes`, out (T, N). Grids: of tiles of 16, 16, 32 or 64
// outputs for 8, 16, 32 or 64 rows, blocks of 128 or 256; of tiles of 128 and 64, blocks of 256.
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(linear_8)(const LinearHalvesParams p) { linear_few<1, 1, 1, 4>(p); }
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(linear_16)(const LinearHalvesParams p) { linear_few<1, 2, 1, 4>(p); }
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(linear_32)(const LinearHalvesParams p) { linear_few<1, 4, 2, 2>(p); }
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(linear_64)(const LinearHalvesParams p) { linear_few<2, 8, 2, 1>(p); }
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(linear_many)(const LinearHalvesParams p) { linear_many(p); }
