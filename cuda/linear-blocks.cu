// Products of few rows and a matrix of a format of blocks, FORMAT, on tensor cores: see halves.cuh. For many rows the blocks
// become codes and scales first, which linear-halves.cu multiplies. It is compiled once for each format whose codes and scales
// of 32 neighbours float16 and one float32 hold.
#include "halves.cuh"

// Steps whose weights are on their way together.
#define AHEAD 4

// Up to 8 rows: a warp for each slice of 16 outputs.
template <int FROM>
static __device__ __forceinline__ void linear_few(const LinearHalvesParams& p) {
  SHARED_BY_LAUNCH(row);
  __shared__ float4 all[SLICES][32];
  __shared__ float made;
  const bool hasZeros = FORMAT == Q4_K || FORMAT == Q5_K;
  const int lane = threadIdx.x % 32, slice = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const int output = blockIdx.x * 16;
  const int first = slice * slice_steps(p.padded), steps = steps_of(slice, p.padded);
  const u8* weights[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const int n = output + 8 * i + g;
    weights[i] = p.weight + (n < p.N ? n : p.N - 1) * p.rowBytes;
  }
  const u16* x = p.x + (long long)(g < p.T ? g : p.T - 1) * 2 * p.padded;
  // After the parts of a row and what gated_norm_row needs.
  float* ownSums = (float*)row + p.padded + (FROM == GATED ? (p.K + 3) / 4 * 4 : 0);
  OwnOutput<LinearHalvesParams> own(p, output + 8 * t + g, FROM != SPLIT && slice == 0 && t < 2);
  auto ownOfFew = own_of_few(p, output, FROM == SPLIT);
  // Weights that come first are near by the time that the kernel before has ended.
  for (int step = t; step < steps; step += 4) {
#pragma unroll
    for (int i = 0; i < 2; i++) fetch_early(weights[i] + (first + step) * p.rowBytes / (p.padded / 32));
  }
  if (FROM == SPLIT) {
    await_previous();
    ownOfFew.load_after();
  } else {
    const float factor = make_parts<FROM>(p, row);
    own.load_addend();
    if (threadIdx.x == 0) made = factor;
    __syncthreads();
    if (hasZeros) {
      for (int i = threadIdx.x; i < p.padded / 32; i += 256) ownSums[i] = sum_of_parts({(u32*)row, -1}, 32 * i);
      __syncthreads();
    }
  }
  float sums[4] = {0, 0, 0, 0};
#pragma unroll 1
  for (int step = 0; step < steps; step += AHEAD) {
    Eight codes[AHEAD][2];
    uint4 parts[AHEAD][2];
    float inputs[AHEAD][2];
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      const int at = first + (step + u < steps ? step + u : steps - 1);
#pragma unroll
      for (int i = 0; i < 2; i++) codes[u][i] = codes_at<FORMAT>(weights[i], 4 * at + t);
#pragma unroll
      for (int i = 0; i < 2; i++) {
        parts[u][i] = FROM == SPLIT ? *(const uint4*)(x + 16ll * (4 * at + t) + 8 * i) : row[2 * (4 * at + t) + i];
        if (hasZeros) inputs[u][i] = FROM == SPLIT ? input_sum(p, 2 * t + i, at) : ownSums[at];
      }
    }
    // Keeps loads before it: the compiler would put each next to its use, where it waits.
    __syncwarp();
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      if (step + u >= steps) break;
      float part[1][1][4] = {};
      const uint4 low = halves_of<FORMAT>(codes[u][0]), high = halves_of<FORMAT>(codes[u][1]);
      add_inputs<1, 1>(part, &low, &high, &parts[u], p.numParts);
      const float scales[2] = {codes[u][0].scale, codes[u][1].scale};
      add_codes(sums, part[0][0], scales);
      if (hasZeros) {
        const float zeros[2] = {codes[u][0].zero, codes[u][1].zero};
        subtract_zeros(sums, zeros, inputs[u]);
      }
    }
  }
  all[slice][lane] = make_float4(sums[0], sums[1], sums[2], sums[3]);
  __syncthreads();
  if (FROM == SPLIT) {
    put_few(ownOfFew, (const float*)all);
    return;
  }
  if (slice > 0) return;
  float4 total = all[0][lane];
#pragma unroll
  for (int s = 1; s < SLICES; s++) {
    const float4 v = all[s][lane];
    total.x += v.x, total.y += v.y, total.z += v.z, total.w += v.w;
  }
  put_single(own, total, made);
}

// out = x Wᵀ + bias. x (T, 2 * padded) of split_rows, or one row of a norm; W (N, K) in rows of `rowBytes`, out (T, N). Grid: tiles of
// 16 outputs, blocks of a warp for each slice.
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(linear_16x8)(const LinearHalvesParams p) { linear_few<SPLIT>(p); }
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(linear_normed_16)(const LinearHalvesParams p) {
  linear_few<NORMED>(p);
}
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(linear_gated_16)(const LinearHalvesParams p) {
  linear_few<GATED>(p);
}
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(linear_activated_16)(const LinearHalvesParams p) {
  linear_few<ACTIVATED>(p);
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

// Codes of (N, padded) weights as float16, and scales (padded / 32, N). Formats that have zeros leave those, too.
// Grid: a thread for eight codes.
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(unpack_codes)(const UnpackCodesParams p) {
  long long n;
  int eight;
  if (!element_of(p.N, p.padded / 8, n, eight)) return;
  const Eight e = codes_at<FORMAT>(p.weight + n * p.rowBytes, eight);
  p.codes[n * (p.padded / 8) + eight] = halves_of<FORMAT>(e);
  if (eight % 4 != 0) return;
  p.scales[(long long)(eight / 4) * p.N + n] = e.scale;
  if (p.zeros) p.zeros[(long long)(eight / 4) * p.N + n] = e.zero;
}
