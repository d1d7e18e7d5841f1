// Products of few rows and a matrix of a format of blocks, FORMAT, on tensor cores: see halves.cuh. For many rows the blocks
// become codes and scales first, which linear-tiles.cu multiplies. It is compiled once for each format.
#include "blocks.cuh"
#include "near.cuh"

// The row of output number i of 16, of which a block has those from `output` on: where it was copied to, if it was.
static __device__ __forceinline__ const u8* row_of_weights(const LinearHalvesParams& p, const uint4* near, int output, int i) {
  const u8* row = p.weight + (output + i < p.N ? output + i : p.N - 1) * p.rowBytes;
  return p.nearPieces > 0 ? (const u8*)(near + i * p.nearPieces) + near_shift(row) : row;
}

// Has a warp's slice of 16 outputs brought near that are not copied.
static __device__ __forceinline__ void fetch_weights(const LinearHalvesParams& p, int output) {
  const int slice = threadIdx.x / 32, first = slice * slice_steps(p.padded), steps = steps_of(slice, p.padded);
  for (int step = threadIdx.x % 4; step < steps; step += 4) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int n = output + 8 * i + threadIdx.x % 32 / 4;
      fetch_early(p.weight + (n < p.N ? n : p.N - 1) * p.rowBytes + (first + step) * p.rowBytes / (p.padded / 32));
    }
  }
}

// Up to 8 rows that were split: a warp for each slice of 16 outputs. Rows of weights are copied to shared memory, if the host has said
// how many pieces each takes.
static __device__ __forceinline__ void linear_split(const LinearHalvesParams& p) {
  SHARED_BY_LAUNCH(near);
  __shared__ uint4 codes[SLICES][CODE_PIECES];
  __shared__ float4 all[SLICES * 32];
  const int lane = threadIdx.x % 32, slice = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const int output = blockIdx.x * 16;
  if (p.nearPieces > 0) copy_near<16>(near, p.nearPieces, p.weight, p.rowBytes, output, p.N);
  else fetch_weights(p, output);
  group_copies();
  auto own = own_of_few(p, output, true);
  await_previous();
  own.load_after();
  wait_copies<0>();
  __syncthreads();
  const uint4* x = (const uint4*)(p.x + (long long)(g < p.T ? g : p.T - 1) * 2 * p.padded);
  const u8* weights = row_of_weights(p, near, output, lane % 16);
  all[threadIdx.x] = slice_of(weights, x, p.padded, p.numParts, codes[slice], [&](int step, float* inputs) {
    for (int i = 0; i < 2; i++) inputs[i] = input_sum(p, 2 * t + i, step);
  });
  __syncthreads();
  put_few(own, (const float*)all);
}

// A single row that every block makes for itself: a warp for each slice of 16 outputs, and for those so many blocks further on. If the
// host has said how many pieces a row of weights takes, it is copied to shared memory: the first 16 before the row is there, others
// while those before them are multiplied.
template <int FROM>
static __device__ __forceinline__ void linear_row(const LinearHalvesParams& p) {
  SHARED_BY_LAUNCH(row);
  __shared__ uint4 codes[SLICES][CODE_PIECES];
  __shared__ float4 all[SLICES * 32];
  __shared__ float made;
  const int lane = threadIdx.x % 32, slice = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const int tiles = (p.N + 15) / 16;
  const bool isNear = p.nearPieces > 0;
  // After the parts of a row and what gated_norm_row needs: sums of 32 inputs, and rows of weights.
  float* ownSums = (float*)row + p.padded + (FROM == GATED ? (p.K + 3) / 4 * 4 : 0);
  uint4* near = (uint4*)ownSums + (p.padded / 32 + 3) / 4;
  auto copy = [&](int tile, int room) {
    if (isNear && tile < tiles) {
      copy_near<16>(near + 16 * room * p.nearPieces, p.nearPieces, p.weight, p.rowBytes, 16 * tile, p.N);
    }
    group_copies();
  };
  const bool isOwn = slice == 0 && t < 2;
  OwnOutput<LinearHalvesParams> own(p, 16 * blockIdx.x + 8 * t + g, isOwn);
  copy(blockIdx.x, 0);
  if (!isNear) fetch_weights(p, 16 * blockIdx.x);
  const float factor = make_parts<FROM>(p, row);
  own.load_addend();
  if (threadIdx.x == 0) made = factor;
  int room = 0;
#pragma unroll 1
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    copy(tile + gridDim.x, 1 - room);
    wait_copies<1>();
    __syncthreads();
    if (HAS_ZEROS && tile == blockIdx.x) {
      put_sums(ownSums, (u32*)row, p.padded);
      __syncthreads();
    }
    const u8* weights = row_of_weights(p, near + 16 * room * p.nearPieces, 16 * tile, lane % 16);
    room = 1 - room;
    const float4 sums = slice_of(weights, row, p.padded, p.numParts, codes[slice], [&](int step, float* inputs) {
      inputs[0] = inputs[1] = ownSums[step];
    });
    all[threadIdx.x] = sums;
    __syncthreads();
    if (slice > 0) continue;
    const float4 total = join_slices(all);
    if (tile == blockIdx.x) {
      put_single(own, total, made);
      continue;
    }
    const float v = own_output(total);
    const int n = 16 * tile + 8 * t + g;
    if (isOwn && n < p.N) put_output<true>(p, 0, n, __fmul_rn(v, made));
  }
}

// out = x Wᵀ + bias. x (T, 2 * padded) of split_rows, or one row of a norm; W (N, K) in rows of `rowBytes`, out (T, N). Grid: tiles of
// 16 outputs, of a single row also fewer blocks; blocks of a warp for each slice.
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(linear_16x8)(const LinearHalvesParams p) { linear_split(p); }
extern "C" __global__ void __launch_bounds__(256, 4) OF_FORMAT(linear_normed_16)(const LinearHalvesParams p) {
  linear_row<NORMED>(p);
}
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(linear_gated_16)(const LinearHalvesParams p) {
  linear_row<GATED>(p);
}
extern "C" __global__ void __launch_bounds__(256, 4) OF_FORMAT(linear_activated_16)(const LinearHalvesParams p) {
  linear_row<ACTIVATED>(p);
}

struct UnpackCodesParams {
  const u8* weight;
  uint4* codes;
  float* scales;
  float* zeros;
  long long rowBytes;
  int N;
  int padded;
};

// Codes of (N, padded) weights as float16, and scales (padded / 32, N). Formats that have zeros leave those, too. Of Q6_K 16 codes
// are spread over 32 places: see spread_codes.
// Grid: a thread for eight codes.
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(unpack_codes)(const UnpackCodesParams p) {
  long long n;
  int eight;
  if (!element_of(p.N, p.padded / 8, n, eight)) return;
  const u8* row = p.weight + n * p.rowBytes;
  const Eight e = HAS_PAIRS ? spread_codes(row, eight) : codes_at<FORMAT>(row, eight);
  p.codes[n * (p.padded / 8) + eight] = halves_of<FORMAT>(e);
  if (eight % 4 != 0) return;
  p.scales[(long long)(eight / 4) * p.N + n] = e.scale;
  if (p.zeros) p.zeros[(long long)(eight / 4) * p.N + n] = e.zero;
}
