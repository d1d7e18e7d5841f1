// Products of few rows and a matrix of float16 or bfloat16, FORMAT, on tensor cores: see halves.cuh. It is compiled once for each.
//
// Weights and rows come through shared memory, copied some steps ahead of the multiplications: this many bytes on their way
// are what keeps the memory busy, and copies take no registers.
#include "halves.cuh"

// Up to 8 rows: a warp for each slice of M times 16 outputs. Each warp copies what it multiplies itself, so that warps wait for
// each other once, with their sums. Each lane has PIECES_AHEAD pieces of 16 bytes in shared memory or on their way: of weights,
// and of rows that were split.
template <int M, int FROM, int PIECES_AHEAD = 16>
static __device__ __forceinline__ void linear_few(const LinearHalvesParams& p) {
  const int PIECES = 2 * M + (FROM == SPLIT ? 2 : 0), STAGES = PIECES_AHEAD / PIECES;
  SHARED_BY_LAUNCH(shared);
  __shared__ float made;
  const int lane = threadIdx.x % 32, slice = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const int output = blockIdx.x * 16 * M;
  const int first = slice * slice_steps(p.padded) * 4, steps = steps_of(slice, p.padded), eights = (p.K + 7) / 8;
  uint4* ring = shared + slice * PIECES_AHEAD * 32;
  const u8* weights[2 * M];
#pragma unroll
  for (int i = 0; i < 2 * M; i++) {
    const int n = output + 8 * i + g;
    weights[i] = p.weight + (n < p.N ? n : p.N - 1) * p.rowBytes;
  }
  // Rows beyond the last are zeros: copies of one row by many lanes would wait for each other.
  const bool isRow = g < p.T;
  const u16* x = p.x + (long long)(isRow ? g : 0) * 2 * p.padded;
  auto copy_weights = [&](int step) {
    uint4* to = ring + step % STAGES * PIECES * 32 + lane;
    const int eight = first + 4 * step;
    const bool isInside = eight + t < eights;
#pragma unroll
    for (int i = 0; i < 2 * M; i++) {
      copy_early(to + 32 * i, weights[i] + (isInside ? 16ll * (eight + t) : 0), isInside);
    }
  };
  auto copy_rows = [&](int step) {
    if (FROM != SPLIT) return;
    // Four lanes copy 64 bytes of a row: first and second parts of two eights. Odd rows have their pieces exchanged, so that lanes
    // meet no bank twice.
    uint4* to = ring + step % STAGES * PIECES * 32 + 64 * M + 8 * g;
    const int eight = first + 4 * step;
    if (p.numParts == 1 && t % 2 == 1) return;
    copy_shared(to + (t ^ g % 2), x + 16ll * eight + 8 * t, isRow);
    copy_shared(to + (t + 4 ^ g % 2), x + 16ll * eight + 32 + 8 * t, isRow);
  };
#pragma unroll
  for (int step = 0; step < STAGES - 1; step++) {
    if (step < steps) copy_weights(step);
    if (FROM != SPLIT) group_copies();
  }
  OwnOutput<LinearHalvesParams> own(p, output + 16 * slice + 8 * t + g, FROM != SPLIT && slice < M && t < 2);
  auto ownOfFew = own_of_few(p, output, FROM == SPLIT);
  if (FROM == SPLIT) {
    await_previous();
#pragma unroll
    for (int step = 0; step < STAGES - 1; step++) {
      if (step < steps) copy_rows(step);
      group_copies();
    }
    ownOfFew.load_after();
  }
  const uint4* own_row = shared + SLICES * PIECES_AHEAD * 32;
  if (FROM != SPLIT) {
    // Waits for the kernel before.
    const float factor = make_parts<FROM>(p, shared + SLICES * PIECES_AHEAD * 32);
    own.load_addend();
    if (threadIdx.x == 0) made = factor;
    __syncthreads();
  }
  float sums[M][1][4] = {};
#pragma unroll 1
  for (int step = 0; step < steps; step++) {
    wait_copies<STAGES - 2>();
    __syncwarp();
    const uint4* from = ring + step % STAGES * PIECES * 32 + lane;
    const uint4* both = FROM == SPLIT ? from - lane + 64 * M + 8 * g + 2 * t : own_row + 2 * (first + 4 * step + t);
    const int isOdd = FROM == SPLIT ? g % 2 : 0;
    uint4 parts[1][2] = {{both[isOdd], both[1 - isOdd]}};
    uint4 low[M], high[M];
#pragma unroll
    for (int m = 0; m < M; m++) low[m] = from[64 * m], high[m] = from[64 * m + 32];
    add_inputs<M, 1>(sums, low, high, parts, p.numParts);
    if (FROM == SPLIT) __syncwarp();
    if (step + STAGES - 1 < steps) copy_weights(step + STAGES - 1), copy_rows(step + STAGES - 1);
    group_copies();
  }
  // Where the first slice's pieces were come the sums of all.
  __syncthreads();
  float4* all = (float4*)shared;
#pragma unroll
  for (int m = 0; m < M; m++) {
    all[(slice * M + m) * 32 + lane] = make_float4(sums[m][0][0], sums[m][0][1], sums[m][0][2], sums[m][0][3]);
  }
  __syncthreads();
  if (FROM == SPLIT) {
    put_few(ownOfFew, (const float*)all);
    return;
  }
  if (slice >= M) return;
  float4 total = all[slice * 32 + lane];
#pragma unroll
  for (int s = 1; s < SLICES; s++) {
    const float4 v = all[(s * M + slice) * 32 + lane];
    total.x += v.x, total.y += v.y, total.z += v.z, total.w += v.w;
  }
  put_single(own, total, made);
}

// out = x Wᵀ + bias. x (T, 2 * padded) of split_rows, or one row of a norm; W (N, K) in rows of `rowBytes`, out (T, N). Grid: tiles of
// outputs, blocks of a warp for each slice.
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(linear_16x8)(const LinearHalvesParams p) {
  linear_few<1, SPLIT>(p);
}
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(linear_normed_16)(const LinearHalvesParams p) {
  linear_few<1, NORMED>(p);
}
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(linear_normed_32)(const LinearHalvesParams p) {
  linear_few<2, NORMED>(p);
}
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(linear_gated_16)(const LinearHalvesParams p) {
  linear_few<1, GATED>(p);
}
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(linear_activated_16)(const LinearHalvesParams p) {
  linear_few<1, ACTIVATED>(p);
}
// For rows that take so much room for themselves that not every GPU has it for as many weights.
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(linear_gated_long_16)(const LinearHalvesParams p) {
  linear_few<1, GATED, 8>(p);
}
