// Products of some rows and a matrix of float16 or bfloat16, FORMAT, on tensor cores: see halves.cuh. It is compiled once for each.
//
// A block has all slices of the inputs, a warp each, and joins their sums in shared memory: in one launch there are as many warps
// as if slices had blocks of their own, and none of their sums goes through memory. Every block reads its rows whole, so this is
// for matrices that are not large.
#include "halves.cuh"

// M times 16 outputs and R times 8 rows. Each warp copies what it multiplies itself, STAGES steps of 32 inputs ahead: warps wait for
// each other once, with their sums.
template <int M, int R, int STAGES>
static __device__ __forceinline__ void linear_joined(const LinearHalvesParams& p) {
  const int OUTPUTS = 16 * M, ROWS = 8 * R, THREADS = 32 * SLICES, PIECES = 2 * M + 2 * R;
  SHARED_BY_LAUNCH(shared);
  const int lane = threadIdx.x % 32, slice = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  // Blocks that run together share outputs' weights.
  const int rowTiles = (p.T + ROWS - 1) / ROWS;
  const int output = blockIdx.x / rowTiles * OUTPUTS, row = blockIdx.x % rowTiles * ROWS;
  const int first = slice * slice_steps(p.padded) * 4, steps = steps_of(slice, p.padded), eights = (p.K + 7) / 8;
  uint4* ring = shared + slice * STAGES * PIECES * 32;
  const u8* weights[2 * M];
#pragma unroll
  for (int i = 0; i < 2 * M; i++) {
    const int n = output + 8 * i + g;
    weights[i] = p.weight + (n < p.N ? n : p.N - 1) * p.rowBytes;
  }
  // Eight lanes copy a row's 128 bytes of a step, which hold a part of eight inputs each: first and second parts by turns. Odd rows
  // have their pieces exchanged, so that lanes meet no bank twice.
  const u16* x = p.x + (long long)(row + lane / 8) * 2 * p.padded + 8 * (lane % 8);
  const int rowsLeft = p.T - row - lane / 8;
  auto copy_weights = [&](int step) {
    uint4* to = ring + step % STAGES * PIECES * 32 + lane;
    const int eight = first + 4 * step + t;
    const bool isInside = eight < eights;
#pragma unroll
    for (int i = 0; i < 2 * M; i++) copy_early(to + 32 * i, weights[i] + (isInside ? 16ll * eight : 0), isInside);
  };
  auto copy_rows = [&](int step) {
    if (p.numParts == 1 && lane % 2 == 1) return;
    uint4* to = ring + step % STAGES * PIECES * 32 + 64 * M + lane / 8 * 8 + (lane % 8 ^ lane / 8 % 2);
    const u16* from = x + 16ll * (first + 4 * step);
#pragma unroll
    for (int r = 0; r < 2 * R; r++) {
      // Rows beyond the last are zeros: copies of one row by many would wait for each other.
      const bool isRow = 4 * r < rowsLeft;
      copy_early(to + 32 * r, isRow ? from + 8ll * r * p.padded : p.x, isRow);
    }
  };
#pragma unroll
  for (int step = 0; step < STAGES; step++) {
    if (step < steps) copy_weights(step);
  }
  OwnOutputs<M * R / 2, LinearHalvesParams> own(
      p, output + threadIdx.x % OUTPUTS, row + threadIdx.x / OUTPUTS, THREADS / OUTPUTS);
  await_previous();
#pragma unroll
  for (int step = 0; step < STAGES; step++) {
    if (step < steps) copy_rows(step);
    group_copies();
  }
  own.load_after();
  float sums[M][R][4] = {};
#pragma unroll 1
  for (int step = 0; step < steps; step++) {
    wait_copies<STAGES - 1>();
    __syncwarp();
    const uint4* from = ring + step % STAGES * PIECES * 32 + lane;
    const uint4* both = from - lane + 64 * M + 8 * g + 2 * t;
    uint4 low[M], high[M], parts[R][2];
#pragma unroll
    for (int m = 0; m < M; m++) low[m] = from[64 * m], high[m] = from[64 * m + 32];
#pragma unroll
    for (int r = 0; r < R; r++) parts[r][0] = both[64 * r + g % 2], parts[r][1] = both[64 * r + 1 - g % 2];
    __syncwarp();
    if (step + STAGES < steps) copy_weights(step + STAGES), copy_rows(step + STAGES);
    group_copies();
    add_inputs<M, R>(sums, low, high, parts, p.numParts);
  }
  // Where the pieces were come the sums of all slices, outputs next to each other. Rows are so far apart that lanes meet no bank
  // twice.
  const int APART = OUTPUTS + 4;
  float* all = (float*)shared;
  __syncthreads();
#pragma unroll
  for (int m = 0; m < M; m++) {
#pragma unroll
    for (int r = 0; r < R; r++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        all[(slice * ROWS + row_of(8 * r, i)) * APART + output_of(16 * m, i)] = sums[m][r][i];
      }
    }
  }
  __syncthreads();
  const int ownRow = threadIdx.x / OUTPUTS, apart = THREADS / OUTPUTS;
  auto total = [&](int i) {
    const float* from = all + (ownRow + apart * i) * APART + threadIdx.x % OUTPUTS;
    float sum = from[0];
#pragma unroll
    for (int s = 1; s < SLICES; s++) sum += from[s * ROWS * APART];
    return sum;
  };
  if (own.isPossible(p)) {
    // Sums are read together: none may follow an output that it might depend on.
    float totals[M * R / 2];
#pragma unroll
    for (int i = 0; i < M * R / 2; i++) totals[i] = total(i);
#pragma unroll
    for (int i = 0; i < M * R / 2; i++) own.put(i, totals[i]);
    return;
  }
#pragma unroll 1
  for (int i = 0; i < M * R / 2; i++) {
    const int at = row + ownRow + apart * i;
    if (at < p.T && own.n < p.N) put_output<true>(p, at, own.n, __fmul_rn(total(i), p.factors[at]));
  }
}

// out = x Wᵀ + bias. x (T, 2 * padded) of split_rows, W (N, K) in rows of `rowBytes`, out (T, N). Grid: tiles of outputs and rows, blocks
// of a warp for each slice.
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(linear_joined_64x32)(const LinearHalvesParams p) {
  linear_joined<4, 4, 2>(p);
}
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(linear_joined_32x16)(const LinearHalvesParams p) {
  linear_joined<2, 2, 3>(p);
}
