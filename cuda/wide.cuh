// What products of many rows and a matrix of float16 or bfloat16, or of codes, share on the tensor cores of Hopper: see halves.cuh and
// warpgroups.cuh.
//
// Sums are those of linear-tiles.cu to the last bit: a multiplication there and here takes the same 16 inputs. Weights come to
// registers as there; of rows what a multiplication takes lies together, in blocks of 64 rows that split_rows has made.
//
// A block has a warpgroup that loads, and others that multiply. They meet at the barriers of stages only, which have 64 inputs each,
// so none waits longer than it must. A block takes tile after tile, and loads the next one while outputs of the last are put.
#pragma once
#include "halves.cuh"
#include "warpgroups.cuh"

// Tiles of rows that blocks take in turn before they go on to other outputs: what they read meanwhile stays in the cache.
#define ROW_TILES 4
#define MOST_STAGES 6

// Of codes, stages have the scales and zeros of their outputs and the sums of their rows' inputs besides, two steps of each.
template <int OUTPUTS, int ROWS>
struct WideExtra {
  float scales[2][OUTPUTS], zeros[2][OUTPUTS], inputSums[2][ROWS];
};

// What a block is to do: tiles of OUTPUTS outputs and ROWS rows.
template <int OUTPUTS, int ROWS>
struct WideWork {
  const LinearHalvesParams& p;
  const int steps = p.padded / 32, rowTiles = (p.T + ROWS - 1) / ROWS, outputTiles = (p.N + OUTPUTS - 1) / OUTPUTS;
  // With `slices`, blocks of grid row s leave the sums of slice s there for linear_sum to put together.
  const int slice = p.slices ? blockIdx.y : 0, firstStep = slice * slice_steps(p.padded);
  const int endStep = p.slices ? firstStep + steps_of(slice, p.padded) : steps;
  // A stage has weights, what codes have besides, the first parts of rows and the second ones, in pieces of 16 bytes.
  static constexpr int EXTRA = FORMAT == CODES ? sizeof(WideExtra<OUTPUTS, ROWS>) / 16 : 0;
  static constexpr int extraAt = 8 * OUTPUTS, rowsAt = (extraAt + EXTRA + 63) / 64 * 64;
  const int pieces = rowsAt + 8 * ROWS * p.numParts;

  // Calls visit(row, output) for each tile of the block, of which those are the first.
  template <class Visit>
  __device__ __forceinline__ void each_tile(Visit visit) const {
    const int together = ROW_TILES * outputTiles;
#pragma unroll 1
    for (int i = blockIdx.x; i < rowTiles * outputTiles; i += gridDim.x) {
      const int first = i / together * ROW_TILES, left = rowTiles - first, count = left < ROW_TILES ? left : ROW_TILES;
      visit((first + i % together % count) * ROWS, i % together / count * OUTPUTS);
    }
  }
  // Calls visit(step) for the first step of each stage of a tile.
  template <class Visit>
  __device__ __forceinline__ void each_stage(Visit visit) const {
#pragma unroll 1
    for (int step = firstStep / 2 * 2; step < endStep; step += 2) visit(step);
  }
};

// The stage that comes next, and how often all have been used.
struct WideStage {
  const int count;
  int at = 0, turn = 0;
  __device__ __forceinline__ void advance() {
    if (++at == count) at = 0, turn++;
  }
};

// Thread i of 128 copies eight inputs, i % 8, of some outputs; thread 0 has the copy engine take the rows.
template <int OUTPUTS, int ROWS>
static __device__ __forceinline__ void load_tiles(
    const WideWork<OUTPUTS, ROWS>& work, WideStage stage, uint4* shared, CopyBarrier* filled, CopyBarrier* emptied, int i) {
  const LinearHalvesParams& p = work.p;
  const int eights = (p.K + 7) / 8, place = place_of_four(i / 8, i % 8);
  const long long blockPieces = (work.steps + 1) / 2 * 1024;
  work.each_tile([&](int row, int output) {
    const int outputsLeft = p.N - output - i / 8;
    const int blocksLeft = (p.T + 63) / 64 - row / 64, blocks = blocksLeft < ROWS / 64 ? blocksLeft : ROWS / 64;
    const uint4* rows = (const uint4*)p.x + row / 64 * blockPieces;
    const u8* weights = p.weight + (output + i / 8) * p.rowBytes;
    work.each_stage([&](int step) {
      CopyBarrier* own = &filled[stage.at];
      uint4* to = shared + stage.at * work.pieces;
      wait_for_all(&emptied[stage.at], stage.turn - 1);
      if (i == 0) {
        arrive_expecting(own, 8192 * blocks * p.numParts);
#pragma unroll 1
        for (int part = 0; part < p.numParts; part++) {
#pragma unroll 1
          for (int b = 0; b < blocks; b++) {
            const uint4* from = rows + b * blockPieces + step / 2 * 1024 + 512 * part;
            copy_piece(to + work.rowsAt + 8 * ROWS * part + 512 * b, from, 8192, own);
          }
        }
      }
      const int eight = 4 * step + i % 8;
      const u8* from = weights + 16ll * eight;
#pragma unroll
      for (int j = 0; j < OUTPUTS / 16; j++) {
        const bool isInside = eight < eights && 16 * j < outputsLeft;
        copy_early(to + place + 128 * j, isInside ? from : p.weight, isInside);
        from += 16 * p.rowBytes;
      }
      if (FORMAT == CODES) {
        auto& extra = *(WideExtra<OUTPUTS, ROWS>*)(to + work.extraAt);
#pragma unroll
        for (int h = 0; h < 2; h++) {
          const bool isOutput = i < OUTPUTS && output + i < p.N && step + h < work.steps;
          const bool isRow = i < ROWS && row + i < p.T && step + h < work.steps && p.zeros;
          const long long n = isOutput ? (long long)(step + h) * p.N + output + i : 0;
          if (i < OUTPUTS) copy_float(&extra.scales[h][i], p.scales + n, isOutput);
          if (i < OUTPUTS && p.zeros) copy_float(&extra.zeros[h][i], p.zeros + n, isOutput);
          if (isRow) copy_float(&extra.inputSums[h][i], p.inputSums + (long long)(row + i) * work.steps + step + h, true);
        }
      }
      arrive_after_copies(own);
      stage.advance();
    });
  });
  wait_copies<0>();
}

// Adds 32 inputs to sums, or has the sums be those: of the first parts of rows, then of the second ones, where there are some, which
// lie `second` pieces further. `at` is the piece of a row that the inputs begin at.
template <int PARTS, int ROWS>
static __device__ __forceinline__ void multiply_step(
    float (&sums)[ROWS / 2], const Operand& a, const uint4* b, int second, int at, bool adds) {
#pragma unroll
  for (int i = 0; i < 2 * PARTS; i++) {
    multiply_tiles<ROWS, FORMAT == BFLOAT16>(sums, a, i % 2, b + i / 2 * second, at + i % 2 * 2, i > 0 || adds);
  }
}

// Sums a tile.
template <int PARTS, int OUTPUTS, int ROWS>
static __device__ __forceinline__ void multiply_tile(
    const WideWork<OUTPUTS, ROWS>& work, WideStage& stage, const uint4* shared, CopyBarrier* filled, CopyBarrier* emptied,
    float (&totals)[ROWS / 2], float (&sums)[ROWS / 2]) {
  const LinearHalvesParams& p = work.p;
#pragma unroll
  for (int i = 0; i < ROWS / 2; i++) {
    totals[i] = 0;
    sums[i] = 0;
  }
  const int sliceSteps = slice_steps(p.padded);
  int sliceEnd = work.firstStep + sliceSteps, last = -1;
  work.each_stage([&](int step) {
    wait_for_all(&filled[stage.at], stage.turn);
    const uint4* weights = shared + stage.at * work.pieces;
    const uint4* b = weights + work.rowsAt;
    Operand a[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
      if (step + h < work.firstStep || step + h >= work.endStep) continue;
      a[h] = load_operand(weights + threadIdx.x / 128 * 512, h);
      begin_multiplications();
      if constexpr (FORMAT != CODES) {
        multiply_step<PARTS, ROWS>(sums, a[h], b, 8 * ROWS, 4 * h, step + h + sliceSteps > sliceEnd);
        group_multiplications();
      } else {
        // What half of the rows make is scaled while the other half is multiplied.
        constexpr int HALF = ROWS / 2;
        float part[2][HALF / 2], scales[2], zeros[2];
        auto& extra = *(const WideExtra<OUTPUTS, ROWS>*)(weights + work.extraAt);
#pragma unroll
        for (int half = 0; half < 2; half++) {
          multiply_step<PARTS, HALF>(part[half], a[h], b + 8 * HALF * half, 8 * ROWS, 4 * h, false);
          group_multiplications();
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
          const int n = output_of(threadIdx.x / 32 * 16, 2 * i);
          scales[i] = extra.scales[h][n];
          if (p.zeros) zeros[i] = extra.zeros[h][n];
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
          if (half == 0) wait_multiplications<1>();
          else wait_multiplications<0>();
#pragma unroll
          for (int i = 0; i < HALF / 2; i += 4) {
            float* own = sums + HALF / 2 * half + i;
            add_codes(own, part[half] + i, scales);
            if (p.zeros) subtract_zeros(own, zeros, &extra.inputSums[h][row_of(HALF * half + 2 * i, 0)]);
          }
        }
      }
      if (step + h + 1 == sliceEnd || step + h + 1 == work.endStep) {
        wait_multiplications<0>();
#pragma unroll
        for (int i = 0; i < ROWS / 2; i++) {
          totals[i] += sums[i];
          if (FORMAT == CODES) sums[i] = 0;
        }
        sliceEnd += sliceSteps;
      } else {
        wait_multiplications<1>();
      }
      // Now no multiplication goes on that reads the stage before.
      if (last >= 0) arrive(&emptied[last]);
      last = -1;
    }
    last = stage.at;
    stage.advance();
  });
  wait_multiplications<0>();
  if (last >= 0) arrive(&emptied[last]);
}

// Puts the outputs of a tile, of which row and output are the first; without `out` only their sums with the addend. Everything is
// loaded before anything is stored.
template <int OUTPUTS, int ROWS>
static __device__ __forceinline__ void put_tile(
    const WideWork<OUTPUTS, ROWS>& work, int row, int output, float (&totals)[ROWS / 2], float (&sums)[ROWS / 2]) {
  const LinearHalvesParams& p = work.p;
  const int t = row_of(row, 0), n = output_of(output + threadIdx.x / 32 * 16, 0), left = p.T - t;
  const bool isOutput[2] = {n < p.N, n + 8 < p.N};
  auto each = [&](const Rows& rows, auto visit) {
    float* at = rows.at + t * rows.stride + n;
#pragma unroll
    for (int i = 0; i < ROWS / 2; i += 4) {
#pragma unroll
      for (int j = 0; j < 4; j++) {
        if (2 * i + j % 2 < left && isOutput[j / 2]) visit(at[j % 2 * rows.stride + j / 2 * 8], i + j);
      }
      at += 8 * rows.stride;
    }
  };
  const float* factors = p.factors + t;
#pragma unroll
  for (int i = 0; i < ROWS / 2; i += 4) {
    const bool isFirst = !p.slices && 2 * i < left, isSecond = !p.slices && 2 * i + 1 < left;
    const float first = isFirst ? factors[0] : 1.0f, second = isSecond ? factors[1] : 1.0f;
#pragma unroll
    for (int j = 0; j < 4; j++) totals[i + j] = __fmul_rn(totals[i + j], j % 2 ? second : first);
    factors += 8;
  }
  const bool hasAddend = p.hasAddend && !p.slices;
  if (p.hasBias && !p.slices) {
    const float bias[2] = {isOutput[0] ? vector_at(p.bias, n) : 0.0f, isOutput[1] ? vector_at(p.bias, n + 8) : 0.0f};
#pragma unroll
    for (int i = 0; i < ROWS / 2; i++) totals[i] = __fadd_rn(totals[i], bias[i % 4 / 2]);
  }
  if (hasAddend) each(p.addend, [&](float& from, int i) { sums[i] = from; });
  const Rows out = p.slices ? Rows{p.slices + (long long)work.slice * p.T * p.N, p.N} : p.out;
  if (out.at) each(out, [&](float& to, int i) { to = totals[i]; });
  if (hasAddend) each(p.sum, [&](float& to, int i) { to = __fadd_rn(totals[i], sums[i]); });
}

// Tiles of GROUPS warpgroups' 64 outputs and ROWS rows, with STAGE_BYTES of shared memory from a multiple of 1,024 bytes on. The
// warpgroups have REGISTERS a thread, and the one that loads has LOADING; 0: what the launch gives them. With PARTS 0 it takes as
// many parts of rows as the launch says; others are for that number of them.
template <int GROUPS, int ROWS, int STAGE_BYTES, int REGISTERS, int LOADING, int PARTS>
static __device__ __forceinline__ void linear_wide(const LinearHalvesParams& p) {
  SHARED_BY_LAUNCH(memory);
  __shared__ CopyBarrier filled[MOST_STAGES], emptied[MOST_STAGES];
  uint4* shared = at_multiple_of_1024(memory);
  const WideWork<64 * GROUPS, ROWS> work = {p};
  const int most = STAGE_BYTES / 16 / work.pieces;
  WideStage stage = {most < MOST_STAGES ? most : MOST_STAGES};
  if (threadIdx.x == 0) {
    for (int i = 0; i < stage.count; i++) {
      // All that load arrive, and thread 0 once more for the copy engine; of those that multiply a thread of each warp.
      make_barrier(&filled[i], 129);
      make_barrier(&emptied[i], 4 * GROUPS);
    }
    show_barriers();
  }
  __syncthreads();
  if (threadIdx.x >= 128 * GROUPS) {
    if constexpr (LOADING > 0) leave_registers<LOADING>();
    load_tiles(work, stage, shared, filled, emptied, threadIdx.x - 128 * GROUPS);
  } else {
    if constexpr (REGISTERS > 0) take_registers<REGISTERS>();
    float totals[ROWS / 2], sums[ROWS / 2];
    work.each_tile([&](int row, int output) {
      if (PARTS == 2 || (PARTS == 0 && p.numParts == 2)) multiply_tile<2>(work, stage, shared, filled, emptied, totals, sums);
      else multiply_tile<1>(work, stage, shared, filled, emptied, totals, sums);
      put_tile(work, row, output, totals, sums);
    });
  }
}
