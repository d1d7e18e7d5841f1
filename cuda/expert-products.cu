// Products of experts and the rows that visit them, on tensor cores: see halves.cuh. Weights are float16, bfloat16 or a format of
// blocks, FORMAT, whose codes become float16 here. It is compiled once for each. Every kernel sums as those of linear-*.cu do.
#include "blocks.cuh"
#include "near.cuh"
#include "step-codes.cuh"
#include "visits.cuh"

#define IS_HALVES (FORMAT == FLOAT16 || FORMAT == BFLOAT16)
#define ROW_BLOCKS (IS_HALVES ? 5 : 3)
#define FEW_BLOCKS (IS_HALVES ? 1 : 3)
// Steps of 32 inputs that are in shared memory or on their way: of a slice of few visits, and of many.
#define FEW_STAGES 6
#define STAGES 4

struct ExpertProductParams {
  const u16* x;
  const float* factors;
  const float* inputSums;
  const int* visitRows;
  const Tile* tiles;
  const u8* const* weights;
  long long rowBytes;
  float* out;
  int numTiles;
  int K;
  int padded;
  int N;
  int numParts;
  int outputTiles;
  int nearPieces;
};

// The row of x that a visit is of.
static __device__ __forceinline__ int row_of_visit(const ExpertProductParams& p, int visit) {
  return p.visitRows ? p.visitRows[visit] : visit;
}

// 16 outputs' matrices that a warp multiplies one after another, for a slice of the inputs: those from `output` on, `tiles` times 16.
struct FewOutputs {
  const u8* matrix;
  long long rowBytes;
  int output;
  int tiles;
  int N;
  int K;
  int padded;
  int numParts;
  // Rows that were copied, each in so many pieces, or null.
  const uint4* near;
  int pieces;

  // The row of output 16 * tile + 8 * i + g of a lane.
  __device__ __forceinline__ const u8* row(int tile, int i) const {
    return row_of_output(16 * tile + 8 * i + threadIdx.x % 32 / 4);
  }
  __device__ __forceinline__ const u8* row_of_output(int at) const {
    const int n = output + at;
    const u8* own = matrix + (n < N ? n : N - 1) * rowBytes;
    return near ? (const u8*)(near + at * pieces) + near_shift(own) : own;
  }
};

// Both parts of a lane's eight of a row; of a row that is missing, zeros.
static __device__ __forceinline__ void load_parts(const uint4* x, int eight, uint4* parts) {
#pragma unroll
  for (int i = 0; i < 2; i++) parts[i] = x ? x[2 * eight + i] : make_uint4(0, 0, 0, 0);
}

// Steps of a slice that have room in shared memory at a time.
static __device__ __forceinline__ int few_slots(int tiles, int padded) {
  const int steps = tiles * slice_steps(padded);
  return steps < FEW_STAGES ? steps : FEW_STAGES;
}

// The sums of a warp's slice of outputs of float16 or bfloat16 and of up to 8 rows, for all[tile][slice][lane]. Weights come
// through shared memory, `ring`, in which lanes read what they have copied themselves. `x` has the parts of the row of a lane, which
// are there after `before`, or is null.
template <class Before>
static __device__ __forceinline__ void add_slice_of_halves(
    const FewOutputs& p, const uint4* x, float4* all, uint4* ring, Before before) {
  const int lane = threadIdx.x % 32, slice = threadIdx.x / 32, t = lane % 4;
  const int first = slice * slice_steps(p.padded) * 4, steps = steps_of(slice, p.padded), total = p.tiles * steps;
  const int eights = (p.K + 7) / 8, slots = few_slots(p.tiles, p.padded);
  ring += slice * slots * 64 + lane;
  const u8* rows[2];
  int copied = 0, copyTile = 0, copyStep = 0, copySlot = 0;
  auto copy_next = [&] {
    if (copied < total) {
      if (copyStep == 0) rows[0] = p.row(copyTile, 0), rows[1] = p.row(copyTile, 1);
      const int eight = first + 4 * copyStep + t;
      const bool isInside = eight < eights;
#pragma unroll
      for (int i = 0; i < 2; i++) {
        copy_early(ring + 64 * copySlot + 32 * i, rows[i] + (isInside ? 16ll * eight : 0), isInside);
      }
      copied++;
      copySlot = copySlot + 1 < slots ? copySlot + 1 : 0;
      if (++copyStep == steps) copyStep = 0, copyTile++;
    }
    group_copies();
  };
#pragma unroll
  for (int i = 0; i < FEW_STAGES - 1; i++) copy_next();
  before();
  uint4 next[2];
  if (total > 0) load_parts(x, first + t, next);
  else for (int tile = 0; tile < p.tiles; tile++) all[(tile * SLICES + slice) * 32 + lane] = make_float4(0, 0, 0, 0);
  float sums[1][1][4] = {};
  int step = 0, readSlot = 0;
  float4* out = all + slice * 32 + lane;
#pragma unroll 1
  for (int i = 0; i < total; i++) {
    wait_copies<FEW_STAGES - 2>();
    uint4 parts[1][2] = {{next[0], next[1]}};
    load_parts(x, first + 4 * (step + 1 < steps ? step + 1 : 0) + t, next);
    const uint4 low = ring[64 * readSlot], high = ring[64 * readSlot + 32];
    readSlot = readSlot + 1 < slots ? readSlot + 1 : 0;
    add_inputs<1, 1>(sums, &low, &high, parts, p.numParts);
    copy_next();
    if (++step < steps) continue;
    *out = make_float4(sums[0][0][0], sums[0][0][1], sums[0][0][2], sums[0][0][3]);
    out += SLICES * 32, step = 0;
#pragma unroll
    for (int j = 0; j < 4; j++) sums[0][0][j] = 0;
  }
}

// Adds a slice of codes of blocks. `inputSums` has the sums of 32 inputs of the two rows that a lane has sums of.
static __device__ __forceinline__ void add_slice_of_codes(
    const FewOutputs& p, uint4* room, const uint4* x, const float* const* inputSums, float4* all) {
  for (int tile = 0; tile < p.tiles; tile++) {
    const u8* weights = p.row_of_output(16 * tile + threadIdx.x % 16);
    all[tile * SLICES * 32 + threadIdx.x] = slice_of(weights, x, p.padded, p.numParts, room, [&](int step, float* inputs) {
      for (int i = 0; i < 2; i++) inputs[i] = inputSums[i][step];
    });
  }
}

// out[v] = x[row of visit v] W[e]ᵀ of the visits of each tile, up to 8, whose expert is e. Without `visitRows` visits are the rows.
// x (rows, 2 * padded) of split_rows, out (visits, N), weights: a pointer to (N, K) in rows of `rowBytes` for each expert.
// Grid: tiles of visits, by `outputTiles` times 16 outputs; blocks of a warp for each slice. Shared memory: 4 KB for each 16 outputs,
// and with weights of 16 bits 1 KB for each step that a slice has room for, of others what copy_near copies.
extern "C" __global__ void __launch_bounds__(256, FEW_BLOCKS) OF_FORMAT(expert_16x8)(const ExpertProductParams p) {
  SHARED_BY_LAUNCH(room);
  __shared__ uint4 codes[SLICES][IS_HALVES ? 1 : CODE_PIECES];
  float4* all = (float4*)room;
  await_previous();
  const Tile tile = p.tiles[blockIdx.x % p.numTiles];
  if (tile.count == 0) return;
  const int output = blockIdx.x / p.numTiles * 16 * p.outputTiles, warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4;
  uint4* near = room + p.outputTiles * SLICES * 32;
  if (p.nearPieces > 0) {
    for (int i = 0; i < p.outputTiles; i++) {
      copy_near<16>(near + 16 * i * p.nearPieces, p.nearPieces, p.weights[tile.expert], p.rowBytes, output + 16 * i, p.N);
    }
    group_copies();
  }
  const FewOutputs outputs = {p.weights[tile.expert], p.rowBytes, output, p.outputTiles, p.N, p.K, p.padded, p.numParts,
                              p.nearPieces > 0 ? near : nullptr, p.nearPieces};
  const bool isRow = g < tile.count;
  const int ownRow = row_of_visit(p, tile.first + (isRow ? g : 0));
  const uint4* x = isRow ? (const uint4*)(p.x + (long long)ownRow * 2 * p.padded) : nullptr;
  int rows[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const int visit = row_of(0, i);
    rows[i] = row_of_visit(p, tile.first + (visit < tile.count ? visit : 0));
  }
  if (IS_HALVES) {
    add_slice_of_halves(outputs, x, all, room + p.outputTiles * SLICES * 32, [] {});
  } else {
    const float* inputSums[2];
#pragma unroll
    for (int i = 0; i < 2; i++) inputSums[i] = p.inputSums + (long long)rows[i] * (p.padded / 32);
    wait_copies<0>();
    __syncthreads();
    add_slice_of_codes(outputs, codes[warp], x, inputSums, all);
  }
  __syncthreads();
  if (warp >= p.outputTiles) return;
  const float4 total = join_slices(all + warp * SLICES * 32);
  const float each[4] = {total.x, total.y, total.z, total.w};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int at = row_of(0, i), n = output_of(output + 16 * warp, i);
    if (at >= tile.count || n >= p.N) continue;
    p.out[(long long)(tile.first + at) * p.N + n] = __fmul_rn(each[i], p.factors[rows[i % 2]]);
  }
}

struct ExpertRowParams {
  const float* x;
  Rows routing;
  const u8* const* weights;
  long long rowBytes;
  float* out;
  int E;
  int K;
  int padded;
  int N;
  int numParts;
  int outputTiles;
  int nearPieces;
  int xStride;
  int kind;
  int isActivated;
  int isGated;
};

// Counts down the visits of 32 experts, of which a lane has one: the lane of visit number `visit`, or -1 and `visit` is less by them.
static __device__ __forceinline__ int lane_of_visit(bool isVisited, int& visit) {
  u32 others = __ballot_sync(ALL_LANES, isVisited);
  const int count = __popc(others);
  if (visit >= count) {
    visit -= count;
    return -1;
  }
  for (; visit > 0; visit--) others &= others - 1;
  return __ffs(others) - 1;
}

// The same of a single row's visits, of which visit v is at x + v * xStride. Every block splits the row for itself, while its weights
// are on their way; with isActivated after what comes after the first product of experts, as split_activated does.
// x (K), or (visits, K or 2 K), out (visits, N). Grid: 16 outputs, by visits; blocks of a warp for each slice. Shared
// memory, after what expert_16x8 has: the parts of the row, sums of 32 inputs, and rows of weights in blocks.
extern "C" __global__ void __launch_bounds__(256, ROW_BLOCKS) OF_FORMAT(expert_row)(const ExpertRowParams p) {
  SHARED_BY_LAUNCH(room);
  __shared__ uint4 codes[SLICES][IS_HALVES ? 1 : CODE_PIECES];
  float4* all = (float4*)room;
  uint4* ring = room + p.outputTiles * SLICES * 32;
  uint4* made = ring + (IS_HALVES ? SLICES * few_slots(p.outputTiles, p.padded) * 64 : 0);
  float* inputSums = (float*)made + p.padded;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, output = blockIdx.x * 16 * p.outputTiles;
  // Nothing writes the matrices' addresses, so they are here by the time that the kernel before has ended.
  const u8* matrices[4];
#pragma unroll
  for (int i = 0; i < 4; i++) matrices[i] = 32 * i + lane < p.E ? p.weights[32 * i + lane] : nullptr;
  await_previous();
  float weights[4];
#pragma unroll
  for (int i = 0; i < 4; i++) weights[i] = 32 * i + lane < p.E ? element(p.routing, 0, 32 * i + lane) : 0.0f;
  const float* x = p.x + (long long)blockIdx.y * p.xStride;
  const u8* matrix = nullptr;
  int visit = blockIdx.y;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (matrix) continue;
    const int from = lane_of_visit(weights[i] != 0.0f, visit);
    if (from < 0) continue;
    const u64 own = (u64)matrices[i];
    const u32 low = __shfl_sync(ALL_LANES, (u32)own, from), high = __shfl_sync(ALL_LANES, (u32)(own >> 32), from);
    matrix = (const u8*)((u64)high << 32 | low);
  }
  for (int begin = 128; begin < p.E && !matrix; begin += 32) {
    const int e = begin + lane;
    const int from = lane_of_visit(e < p.E && element(p.routing, 0, e) != 0.0f, visit);
    if (from >= 0) matrix = p.weights[begin + from];
  }
  if (!matrix) return;
  uint4* near = p.nearPieces > 0 ? (uint4*)inputSums + (p.padded / 32 + 3) / 4 : nullptr;
  const FewOutputs outputs = {matrix,   p.rowBytes, output,       p.outputTiles, p.N,
                              p.K,      p.padded,   p.numParts,   near,          p.nearPieces};
  float factor = 1;
  auto split = [&] {
    const float* other = p.isActivated && p.isGated ? x + p.K : nullptr;
    factor = activated_row(x, other, p.isActivated ? p.kind : IDENTITY, p.K, p.padded, {(u32*)made, -1}, nullptr);
    if (IS_HALVES) __syncthreads();
  };
  if (IS_HALVES) {
    add_slice_of_halves(outputs, made, all, ring, split);
  } else {
    const int first = warp * slice_steps(p.padded), steps = steps_of(warp, p.padded);
    for (int tile = 0; tile < p.outputTiles; tile++) {
      if (near) {
        uint4* to = near + 16 * tile * p.nearPieces;
        copy_near<16>(to, p.nearPieces, matrix, p.rowBytes, output + 16 * tile, p.N);
        continue;
      }
      for (int step = lane % 4; step < steps; step += 4) {
#pragma unroll
        for (int i = 0; i < 2; i++) fetch_early(outputs.row(tile, i) + (first + step) * p.rowBytes / (p.padded / 32));
      }
    }
    group_copies();
    split();
    wait_copies<0>();
    __syncthreads();
    const float* both[2] = {inputSums, inputSums};
    if (HAS_ZEROS) put_sums(inputSums, (u32*)made, p.padded);
    if (HAS_ZEROS) __syncthreads();
    add_slice_of_codes(outputs, codes[warp], made, both, all);
  }
  __syncthreads();
  // Lanes 4 g have the sums of the only row.
  if (warp >= p.outputTiles || lane % 4 != 0) return;
  const float4 total = join_slices(all + warp * SLICES * 32);
  const int n = output + 16 * warp + lane / 4;
  float* out = p.out + (long long)blockIdx.y * p.N + n;
  if (n < p.N) out[0] = __fmul_rn(total.x, factor);
  if (n + 8 < p.N) out[8] = __fmul_rn(total.z, factor);
}

// Tiles of WM warps' M times 16 outputs and WR warps' R times 8 visits, which share what is copied.
template <int WM, int WR, int M, int R>
static __device__ __forceinline__ void expert_tiles(const ExpertProductParams& p) {
  const int OUTPUTS = 16 * M * WM, ROWS = 8 * R * WR, THREADS = 32 * WM * WR;
  const int COPIES = IS_HALVES ? 4 * OUTPUTS / THREADS : 1;
  const int PIECES = 4 * OUTPUTS + 8 * ROWS;
  SHARED_BY_LAUNCH(shared);
  __shared__ float scales[STAGES][IS_HALVES ? 1 : OUTPUTS];
  __shared__ float zeros[STAGES][HAS_ZEROS ? OUTPUTS : 1];
  await_previous();
  // Blocks that run together share outputs' weights.
  const Tile tile = p.tiles[blockIdx.x % p.numTiles];
  if (tile.count == 0) return;
  const int output = blockIdx.x / p.numTiles * OUTPUTS, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int eights = (p.K + 7) / 8, steps = p.padded / 32;
  // A thread copies piece threadIdx.x % 4 of some outputs, or makes the codes of 32 inputs of one; and it copies piece
  // threadIdx.x % 8 of some rows, a part of eight inputs.
  const u8* weights[COPIES];
  const u16* x[8 * ROWS / THREADS];
#pragma unroll
  for (int i = 0; i < COPIES; i++) {
    const int n = output + (IS_HALVES ? threadIdx.x / 4 + THREADS / 4 * i : threadIdx.x % OUTPUTS);
    weights[i] = p.weights[tile.expert] + (n < p.N ? n : p.N - 1) * p.rowBytes;
  }
#pragma unroll
  for (int i = 0; i < 8 * ROWS / THREADS; i++) {
    const int at = threadIdx.x / 8 + THREADS / 8 * i;
    const int row = row_of_visit(p, tile.first + (at < tile.count ? at : 0));
    x[i] = p.x + (long long)row * 2 * p.padded + threadIdx.x % 8 * 8;
  }
  const int rowsLeft = tile.count - threadIdx.x / 8;
  const bool isPart = p.numParts == 2 || threadIdx.x % 2 == 0;
  auto copy = [&](int step) {
    uint4* to = shared + step % STAGES * PIECES;
    if (IS_HALVES) {
      const int eight = 4 * step + threadIdx.x % 4;
      const bool isInside = eight < eights;
#pragma unroll
      for (int i = 0; i < COPIES; i++) {
        copy_early(to + threadIdx.x + THREADS * i, weights[i] + (isInside ? 16ll * eight : 0), isInside);
      }
    }
    to += 4 * OUTPUTS + threadIdx.x / 8 * 8 + (threadIdx.x % 8 ^ threadIdx.x / 8 % 2);
#pragma unroll
    for (int i = 0; i < 8 * ROWS / THREADS; i++) {
      // Rows beyond the last are zeros: copies of one row by many would wait for each other. So are parts that are left out: they are
      // multiplied, since turning off within the multiplications takes longer.
      copy_early(to + THREADS * i, x[i] + 64ll * step, isPart && THREADS / 8 * i < rowsLeft);
    }
  };
  // Codes of blocks become float16 in shared memory, those of two steps at a time, which threads have loaded two steps before.
  Eight codes[4];
  auto load_codes = [&](int pair) {
    const int step = pair + threadIdx.x / OUTPUTS;
    if (step < steps) codes_of_step<FORMAT>(weights[0], step, codes);
  };
  auto store_codes = [&](int pair) {
    const int step = pair + threadIdx.x / OUTPUTS, stage = step % STAGES, n = threadIdx.x % OUTPUTS;
    if (step >= steps) return;
#pragma unroll
    for (int t = 0; t < 4; t++) shared[stage * PIECES + place_of_codes(n, t)] = halves_of<FORMAT>(codes[t]);
    scales[stage][n] = codes[0].scale;
    if (HAS_ZEROS) zeros[stage][n] = codes[0].zero;
  };
  // Waits for what a step multiplies, and has later steps brought near.
  auto begin_step = [&](int step) {
    if (IS_HALVES) {
      wait_copies<STAGES - 2>();
      __syncthreads();
      if (step + STAGES - 1 < steps) copy(step + STAGES - 1);
      group_copies();
    } else if (step % 2 == 0) {
      wait_copies<0>();
      __syncthreads();
      store_codes(step + 2);
      load_codes(step + 4);
#pragma unroll
      for (int i = 2; i < 4; i++) {
        if (step + i < steps) copy(step + i);
      }
      group_copies();
    }
  };
#pragma unroll
  for (int step = 0; step < (IS_HALVES ? STAGES - 1 : 2); step++) {
    if (step < steps) copy(step);
    group_copies();
  }
  if (!IS_HALVES) load_codes(0), store_codes(0), load_codes(2);
  const int ownOutput = warp % WM * 16 * M, ownRow = warp / WM * 8 * R;
  int rows[R][2];
#pragma unroll
  for (int r = 0; r < R; r++) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int at = row_of(ownRow + 8 * r, i);
      rows[r][i] = row_of_visit(p, tile.first + (at < tile.count ? at : 0));
    }
  }
  float totals[M][R][4];
  int step = 0;
#pragma unroll 1
  for (int slice = 0; slice < SLICES; slice++) {
    float sums[M][R][4] = {};
    const int end = step + steps_of(slice, p.padded);
#pragma unroll 1
    for (; step < end; step++) {
      begin_step(step);
      const uint4* from = shared + step % STAGES * PIECES + lane;
      uint4 parts[R][2];
#pragma unroll
      for (int r = 0; r < R; r++) {
        // Odd rows have their pieces exchanged, so that lanes meet no bank twice.
        const uint4* pieces = from - lane + 4 * OUTPUTS + 8 * (ownRow + 8 * r + lane / 4);
        parts[r][0] = pieces[lane % 4 * 2 ^ lane / 4 % 2];
        parts[r][1] = pieces[(lane % 4 * 2 + 1) ^ lane / 4 % 2];
      }
      if (IS_HALVES) {
        uint4 low[M], high[M];
#pragma unroll
        for (int m = 0; m < M; m++) {
          low[m] = from[4 * (ownOutput + 16 * m)], high[m] = from[4 * (ownOutput + 16 * m + 8)];
        }
        add_inputs<M, R>(sums, low, high, parts, 2);
        continue;
      }
      float inputs[R][2];
      if (HAS_ZEROS) {
#pragma unroll
        for (int r = 0; r < R; r++) {
#pragma unroll
          for (int i = 0; i < 2; i++) inputs[r][i] = p.inputSums[(long long)rows[r][i] * steps + step];
        }
      }
#pragma unroll
      for (int m = 0; m < M; m++) {
        const int place = place_of_codes(ownOutput + 16 * m + lane / 4, lane % 4);
        const uint4 low = from[place - lane], high = from[place - lane + 32];
        float part[1][R][4] = {};
        add_inputs<1, R>(part, &low, &high, parts, 2);
        const int n = ownOutput + 16 * m + lane / 4;
        const float both[2] = {scales[step % STAGES][n], scales[step % STAGES][n + 8]};
#pragma unroll
        for (int r = 0; r < R; r++) {
          add_codes(sums[m][r], part[0][r], both);
          if (!HAS_ZEROS) continue;
          const float less[2] = {zeros[step % STAGES][n], zeros[step % STAGES][n + 8]};
          subtract_zeros(sums[m][r], less, inputs[r]);
        }
      }
    }
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
      for (int r = 0; r < R; r++) {
#pragma unroll
        for (int i = 0; i < 4; i++) totals[m][r][i] = slice == 0 ? sums[m][r][i] : totals[m][r][i] + sums[m][r][i];
      }
    }
  }
#pragma unroll
  for (int r = 0; r < R; r++) {
    const float factors[2] = {p.factors[rows[r][0]], p.factors[rows[r][1]]};
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int at = row_of(ownRow + 8 * r, i), n = output_of(output + ownOutput + 16 * m, i);
        if (at >= tile.count || n >= p.N) continue;
        p.out[(long long)(tile.first + at) * p.N + n] = __fmul_rn(totals[m][r][i], factors[i % 2]);
      }
    }
  }
}

// As expert_16x8, for tiles of up to 32 and 64 visits. Grid: tiles of visits, by 64 outputs. Blocks have a warp for each part of the tile.
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(expert_64x32)(const ExpertProductParams p) {
  expert_tiles<4, 1, 1, 4>(p);
}
extern "C" __global__ void __launch_bounds__(128, 3) OF_FORMAT(expert_64x64)(const ExpertProductParams p) {
  expert_tiles<2, 2, 2, 4>(p);
}
