// Products of many rows and a matrix of float16 or bfloat16, FORMAT, or of what unpack_codes makes of a format of blocks, CODES, on
// tensor cores: see halves.cuh. It is compiled once for each. Weights and rows come through shared memory, copied some steps
// ahead of the multiplications.
#include "halves.cuh"

// Steps of 32 inputs that are in shared memory or on their way.
#define STAGES 4

// Tiles of WM warps' M times 16 outputs and WR warps' R times 8 rows, which share what is copied. With `slices`, blocks of
// grid row s leave the sums of slice s there for linear_sum to put together: more blocks read the weights of small matrices.
template <int WM, int WR, int M, int R>
static __device__ __forceinline__ void linear_tiles(const LinearHalvesParams& p) {
  const int OUTPUTS = 16 * M * WM, ROWS = 8 * R * WR, THREADS = 32 * WM * WR;
  const int PIECES = 4 * OUTPUTS + 8 * ROWS;
  SHARED_BY_LAUNCH(shared);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  // Blocks that run together share outputs' weights.
  const int rowTiles = (p.T + ROWS - 1) / ROWS;
  const int output = blockIdx.x / rowTiles * OUTPUTS, row = blockIdx.x % rowTiles * ROWS;
  const int eights = (p.K + 7) / 8;
  const int firstSlice = p.slices ? blockIdx.y : 0, lastSlice = p.slices ? firstSlice + 1 : SLICES;
  const int firstStep = firstSlice * slice_steps(p.padded);
  const int endStep = p.slices ? firstStep + steps_of(firstSlice, p.padded) : p.padded / 32;
  // A thread copies piece threadIdx.x % 4 of some outputs, and piece threadIdx.x % 8 of some rows: a part of eight inputs.
  const u8* weights[4 * OUTPUTS / THREADS];
  const u16* x[8 * ROWS / THREADS];
#pragma unroll
  for (int i = 0; i < 4 * OUTPUTS / THREADS; i++) {
    const int n = output + threadIdx.x / 4 + THREADS / 4 * i;
    weights[i] = p.weight + (n < p.N ? n : p.N - 1) * p.rowBytes;
  }
#pragma unroll
  for (int i = 0; i < 8 * ROWS / THREADS; i++) {
    const int t = row + threadIdx.x / 8 + THREADS / 8 * i;
    x[i] = p.x + (long long)(t < p.T ? t : p.T - 1) * 2 * p.padded + threadIdx.x % 8 * 8;
  }
  const int rowsLeft = p.T - row - threadIdx.x / 8;
  const bool isPart = p.numParts == 2 || threadIdx.x % 2 == 0;
  auto copy = [&](int step) {
    uint4* to = shared + step % STAGES * PIECES;
    const int eight = 4 * step + threadIdx.x % 4;
    const bool isInside = eight < eights;
#pragma unroll
    for (int i = 0; i < 4 * OUTPUTS / THREADS; i++) {
      copy_early(to + threadIdx.x + THREADS * i, weights[i] + (isInside ? 16ll * eight : 0), isInside);
    }
    to += 4 * OUTPUTS + threadIdx.x / 8 * 8 + (threadIdx.x % 8 ^ threadIdx.x / 8 % 2);
#pragma unroll
    for (int i = 0; i < 8 * ROWS / THREADS; i++) {
      // Rows beyond the last are zeros: copies of one row by many would wait for each other. So are parts that are left out: they are
      // multiplied, since turning off within the multiplications takes longer.
      copy_early(to + THREADS * i, x[i] + 64ll * step, isPart && THREADS / 8 * i < rowsLeft);
    }
  };
#pragma unroll
  for (int i = 0; i < STAGES - 1; i++) {
    if (firstStep + i < endStep) copy(firstStep + i);
    group_copies();
  }
  const int ownOutput = warp % WM * 16 * M, ownRow = warp / WM * 8 * R;
  float totals[M][R][4];
  int step = firstStep;
#pragma unroll 1
  for (int slice = firstSlice; slice < lastSlice; slice++) {
    float sums[M][R][4] = {};
    const int end = step + steps_of(slice, p.padded);
#pragma unroll 1
    for (; step < end; step++) {
      wait_copies<STAGES - 2>();
      __syncthreads();
      if (step + STAGES - 1 < endStep) copy(step + STAGES - 1);
      group_copies();
      const uint4* from = shared + step % STAGES * PIECES + lane;
      uint4 parts[R][2];
      float scales[M][2], zeros[M][2];
      if (FORMAT == CODES) {
#pragma unroll
        for (int i = 0; i < 2 * M; i++) {
          const int n = output + ownOutput + 8 * i + lane / 4;
          const long long at = (long long)step * p.N + (n < p.N ? n : p.N - 1);
          scales[i / 2][i % 2] = p.scales[at];
          if (p.zeros) zeros[i / 2][i % 2] = p.zeros[at];
        }
      }
#pragma unroll
      for (int r = 0; r < R; r++) {
        // Odd rows have their pieces exchanged, so that lanes meet no bank twice.
        const uint4* pieces = from - lane + 4 * OUTPUTS + 8 * (ownRow + 8 * r + lane / 4);
        parts[r][0] = pieces[lane % 4 * 2 ^ lane / 4 % 2];
        parts[r][1] = pieces[(lane % 4 * 2 + 1) ^ lane / 4 % 2];
      }
      if (FORMAT != CODES) {
        uint4 low[M], high[M];
#pragma unroll
        for (int m = 0; m < M; m++) {
          low[m] = from[4 * (ownOutput + 16 * m)], high[m] = from[4 * (ownOutput + 16 * m + 8)];
        }
        add_inputs<M, R>(sums, low, high, parts, 2);
      } else {
#pragma unroll
        for (int m = 0; m < M; m++) {
          const uint4 low = from[4 * (ownOutput + 16 * m)], high = from[4 * (ownOutput + 16 * m + 8)];
          float part[1][R][4] = {};
          add_inputs<1, R>(part, &low, &high, parts, 2);
#pragma unroll
          for (int r = 0; r < R; r++) {
            add_codes(sums[m][r], part[0][r], scales[m]);
            if (!p.zeros) continue;
            const int t = row + ownRow + 8 * r + lane % 4 * 2;
            const float inputs[2] = {input_sum(p, t, step), input_sum(p, t + 1, step)};
            subtract_zeros(sums[m][r], zeros[m], inputs);
          }
        }
      }
    }
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
      for (int r = 0; r < R; r++) {
#pragma unroll
        for (int i = 0; i < 4; i++) totals[m][r][i] = slice == firstSlice ? sums[m][r][i] : totals[m][r][i] + sums[m][r][i];
      }
    }
  }
#pragma unroll
  for (int m = 0; m < M; m++) {
#pragma unroll
    for (int r = 0; r < R; r++) {
      const int n = output + ownOutput + 16 * m, t = row + ownRow + 8 * r;
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int at = row_of(t, i), out = output_of(n, i);
        if (at >= p.T || out >= p.N) continue;
        if (p.slices) p.slices[((long long)firstSlice * p.T + at) * p.N + out] = totals[m][r][i];
        else put_output<false>(p, at, out, __fmul_rn(totals[m][r][i], p.factors[at]));
      }
    }
  }
}

// out = x Wᵀ + bias. x (T, 2 * padded) of split_rows, W (N, K) in rows of `rowBytes`, out (T, N). Grid: tiles of outputs and rows, by
// 8 slices where they are left apart. Blocks have a warp for each part of the tile.
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(linear_64x16)(const LinearHalvesParams p) {
  linear_tiles<4, 1, 1, 2>(p);
}
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(linear_64x32)(const LinearHalvesParams p) {
  linear_tiles<4, 1, 1, 4>(p);
}
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(linear_64x64)(const LinearHalvesParams p) {
  linear_tiles<2, 2, 2, 4>(p);
}

// Puts the sums of slices (8, T, N) together. Grid: an output a thread, blocks of 256.
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(linear_sum)(const LinearHalvesParams p) {
  long long t;
  int n;
  if (!element_of(p.T, p.N, t, n)) return;
  float sums[SLICES];
#pragma unroll
  for (int s = 0; s < SLICES; s++) sums[s] = p.slices[((long long)s * p.T + t) * p.N + n];
  float total = sums[0];
#pragma unroll
  for (int s = 1; s < SLICES; s++) total += sums[s];
  put_output<true>(p, t, n, __fmul_rn(total, p.factors[t]));
}
