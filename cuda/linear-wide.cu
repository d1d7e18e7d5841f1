// Products of many rows and a matrix of float16 or bfloat16, FORMAT, or of what unpack_codes makes of a format of blocks, CODES, on
// the tensor cores of Hopper: see halves.cuh and warpgroups.cuh. It is compiled once for each, for compute capability 9.0 only.
//
// Sums are those of linear-tiles.cu to the last bit: a multiplication there and here takes the same 16 inputs, and their order does
// not matter to it. Of 32 inputs the first one takes those whose number modulo 8 is below 4, the second one the others, so both
// come to shared memory in that order: weights by copies of 8 bytes, rows as split_rows has put them into blocks of 64 rows, which
// the copy engine takes whole.
#include "halves.cuh"
#include "warpgroups.cuh"

// Pairs of steps of 32 inputs that are in shared memory or on their way.
#define WIDE_STAGES 4
// Tiles of rows that blocks take in turn before they go on to other outputs: what all of them read stays in the cache.
#define ROW_TILES 16

// Tiles of GROUPS warpgroups' 64 outputs and ROWS rows.
template <int GROUPS, int ROWS>
static __device__ __forceinline__ void linear_wide(const LinearHalvesParams& p) {
  const int OUTPUTS = 64 * GROUPS, THREADS = 128 * GROUPS;
  const int PIECES = 8 * ROWS + 4 * OUTPUTS, STAGE = 2 * PIECES, STRIDE = OUTPUTS + 4;
  SHARED_BY_LAUNCH(memory);
  __shared__ CopyBarrier filled[WIDE_STAGES];
  uint4* shared = at_multiple_of_1024(memory);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int rowTiles = (p.T + ROWS - 1) / ROWS, outputTiles = (p.N + OUTPUTS - 1) / OUTPUTS;
  const int together = ROW_TILES * outputTiles, firstRowTile = blockIdx.x / together * ROW_TILES;
  const int count = rowTiles - firstRowTile < ROW_TILES ? rowTiles - firstRowTile : ROW_TILES, at = blockIdx.x % together;
  const int row = (firstRowTile + at % count) * ROWS, output = at / count * OUTPUTS;
  const int quads = (p.K + 7) / 8 * 2, steps = p.padded / 32;
  // A thread copies four inputs, threadIdx.x % 8, of some outputs.
  const int quad = threadIdx.x % 8, own = threadIdx.x / 8;
  const u8* weights[OUTPUTS / (THREADS / 8)];
#pragma unroll
  for (int i = 0; i < OUTPUTS / (THREADS / 8); i++) {
    const int n = output + own + THREADS / 8 * i;
    weights[i] = p.weight + (n < p.N ? n : p.N - 1) * p.rowBytes;
  }
  const int blocksLeft = (p.T + 63) / 64 - row / 64, blocks = blocksLeft < ROWS / 64 ? blocksLeft : ROWS / 64;
  const uint4* rows = (const uint4*)p.x + (long long)(row / 64) * steps * 512;
  // Rows of 64 bytes repeat their order of pieces every 8, and THREADS / 8 is a multiple of that.
  const int place = 2 * place_of_64(own, quad % 2 * 2 + quad / 4) + quad / 2 % 2;
  float* inputSums = (float*)(shared + WIDE_STAGES * STAGE);
  auto copy = [&](int stage, int step) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      if (step + h >= steps) break;
      uint4* to = shared + stage * STAGE + h * PIECES;
      const bool isInside = 8 * (step + h) + quad < quads;
#pragma unroll
      for (int i = 0; i < OUTPUTS / (THREADS / 8); i++) {
        copy_half((uint2*)(to + 8 * ROWS) + place + THREADS * i, weights[i] + (isInside ? 8ll * (8 * (step + h) + quad) : 0), isInside);
      }
      if (FORMAT == CODES && p.zeros && threadIdx.x < ROWS) {
        const int t = row + threadIdx.x;
        copy_float(inputSums + (2 * stage + h) * ROWS + threadIdx.x, p.inputSums + (long long)t * steps + step + h, t < p.T);
      }
    }
    if (threadIdx.x > 0) return;
    const int count = step + 1 < steps ? 2 : 1;
    expect_bytes(&filled[stage], 8192 * blocks * count);
    for (int h = 0; h < count; h++) {
      for (int i = 0; i < blocks; i++) {
        copy_piece(shared + stage * STAGE + h * PIECES + 512 * i, rows + ((long long)i * steps + step + h) * 512, 8192, &filled[stage]);
      }
    }
  };
  if (threadIdx.x == 0) {
    for (int i = 0; i < WIDE_STAGES; i++) make_barrier(&filled[i]);
    show_barriers();
  }
  __syncthreads();
#pragma unroll 1
  for (int i = 0; i < WIDE_STAGES - 2; i++) {
    if (2 * i < steps) copy(i, 2 * i);
    group_copies();
  }
  float totals[ROWS / 2] = {}, sums[ROWS / 2] = {};
  const int sliceSteps = slice_steps(p.padded);
  int sliceEnd = sliceSteps, stage = 0, phase = 0;
  auto end_slice = [&] {
    wait_multiplications<0>();
#pragma unroll
    for (int i = 0; i < ROWS / 2; i++) totals[i] += sums[i], sums[i] = 0;
    sliceEnd += sliceSteps;
  };
  // Of codes, what half of the rows make is scaled while the other half is multiplied.
  const int HALVES = 2, HALF = ROWS / HALVES;
  auto add_parts = [&](int step, float (&part)[HALVES][HALF / 2], const float* stepSums) {
    float scales[2], zeros[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int n = output_of(output + 16 * warp, 2 * i);
      const long long at = (long long)step * p.N + (n < p.N ? n : p.N - 1);
      scales[i] = p.scales[at];
      if (p.zeros) zeros[i] = p.zeros[at];
    }
#pragma unroll
    for (int half = 0; half < HALVES; half++) {
      if (half + 1 < HALVES) wait_multiplications<1>();
      else wait_multiplications<0>();
#pragma unroll
      for (int i = 0; i < HALF / 2; i += 4) {
        float* own = sums + HALF / 2 * half + i;
        add_codes(own, part[half] + i, scales);
        if (p.zeros) subtract_zeros(own, zeros, stepSums + row_of(HALF * half + 2 * i, 0));
      }
    }
  };
#pragma unroll 1
  for (int step = 0; step < steps; step += 2) {
    wait_copies<WIDE_STAGES - 3>();
    wait_bytes(&filled[stage], phase);
    __syncthreads();
    Operand a[2][2];
    float part[HALVES][HALF / 2];
    const int ahead = stage + WIDE_STAGES - 2 < WIDE_STAGES ? stage + WIDE_STAGES - 2 : stage - 2;
#pragma unroll
    for (int h = 0; h < 2; h++) {
      if (h == 1 && step + 1 >= steps) break;
      const uint4* b = shared + stage * STAGE + h * PIECES;
      const uint4* own = b + 8 * ROWS + threadIdx.x / 128 * 256;
      a[h][0] = load_operand(own, 0), a[h][1] = load_operand(own, 2);
      begin_multiplications();
      if (FORMAT != CODES) {
#pragma unroll
        for (int turn = 0; turn < 4; turn++) multiply_tiles<ROWS, FORMAT == BFLOAT16, true>(sums, a[h][turn % 2], b, turn * 2);
        group_multiplications();
      } else {
#pragma unroll
        for (int half = 0; half < HALVES; half++) {
          const uint4* of = b + 8 * HALF * half;
          multiply_tiles<HALF, false, false>(part[half], a[h][0], of, 0);
#pragma unroll
          for (int turn = 1; turn < 4; turn++) multiply_tiles<HALF, false, true>(part[half], a[h][turn % 2], of, turn * 2);
          group_multiplications();
        }
      }
      if (h == 0) {
        if (step + 2 * (WIDE_STAGES - 2) < steps) copy(ahead, step + 2 * (WIDE_STAGES - 2));
        group_copies();
      }
      if (FORMAT == CODES) add_parts(step + h, part, inputSums + (2 * stage + h) * ROWS);
      if (step + h + 1 == sliceEnd) end_slice();
      else wait_multiplications<1>();
    }
    if (++stage == WIDE_STAGES) stage = 0, phase ^= 1;
  }
  end_slice();
  // Outputs go through shared memory, so that a warp has neighbours.
  float* all = (float*)shared;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < ROWS / 2; i++) {
    all[row_of(i / 4 * 8, i % 4) * STRIDE + output_of(16 * warp, i % 4)] = totals[i];
  }
  __syncthreads();
#pragma unroll 1
  for (int i = warp; i < ROWS; i += THREADS / 32) {
    const int t = row + i;
    if (t >= p.T) break;
#pragma unroll
    for (int j = lane; j < OUTPUTS; j += 32) {
      const int n = output + j;
      if (n < p.N) put_output<false>(p, t, n, __fmul_rn(all[i * STRIDE + j], p.factors[t]));
    }
  }
}

// Of codes, sums of 32 inputs need registers of their own.
#define WIDE_GROUPS (FORMAT == CODES ? 2 : 3)
#define WIDE_THREADS (128 * WIDE_GROUPS)

// out = x Wᵀ + bias. x of split_rows in blocks of 64 rows, W (N, K) in rows of `rowBytes`, out (T, N). Grid: tiles of outputs and
// rows. Blocks have a warpgroup for each 64 outputs.
extern "C" __global__ void __launch_bounds__(WIDE_THREADS) OF_FORMAT(linear_wide)(const LinearHalvesParams p) {
  linear_wide<WIDE_GROUPS, 128>(p);
}
