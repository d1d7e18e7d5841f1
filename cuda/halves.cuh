// Products on tensor cores, with sums in float32. Rows are sums of two numbers of 16 bits each, see split_rows, so that they lose
// next to nothing. With `numParts` 1 the second of them is left out.
//
// The inputs are eight slices of whole 32s. An output sums each slice in the order of inputs, then the slices in their order:
// the same in every kernel, so for every number of rows. Of 32 inputs lane 4 g + t has eight neighbours, 8 t to 8 t + 7, of its
// rows and outputs, so that all copies are of 16 bytes; which inputs a multiplication takes together does not matter to it.
// Of formats of blocks the codes are multiplied, which float16 holds, and what 32 inputs make is added times their scale.
#pragma once
#include "activations.cuh"
#include "norms.cuh"
#include "outputs.cuh"
#include "weights.cuh"

#define SLICES 8
struct LinearHalvesParams {
  const u16* x;
  const float* factors;
  Rows bias;
  Rows out;
  const u8* weight;
  float* slices;
  const float* scales;
  const float* zeros;
  const float* inputSums;
  long long rowBytes;
  int T;
  int K;
  int N;
  int padded;
  int numParts;
  int nearPieces;
  int hasBias;
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
  Rows normX;
  Rows normZ;
  Rows normY;
  Rows normSquareSums;
  Rows normWeight;
  Rows normOut;
  int normHasAddend;
  int normKind;
  int normGroups;
  int normGroupSize;
  float normCount;
  float normEps;
};

// Where a product's rows come from: split before; or a single row that every block norms for itself, or puts through an
// activation, while its weights are on their way. The first block leaves what that would leave.
enum { SPLIT, NORMED, GATED, ACTIVATED };

// The parts of a row x of up to 4,096 columns after an activation, times another row if there is one: what elementwise and split_rows make
// of it. The row is left in `out`, if there is room for it. → what the parts are divided by
static __device__ __forceinline__ float activated_row(
    const float* x, const float* other, int kind, int K, int padded, const Parts& parts, float* out) {
  __shared__ float mosts[ROW_THREADS / 32];
  const bool isFloat16 = FORMAT != BFLOAT16;
  float kept[KEPT][4], factors[KEPT][4];
  float most = 0;
#pragma unroll
  for (int q = 0; q < KEPT; q++) {
    const int c = 4 * (threadIdx.x + ROW_THREADS * q);
    if (c >= K) continue;
    load_quad(x, c, K, kept[q]);
    if (other) load_quad(other, c, K, factors[q]);
  }
#pragma unroll
  for (int q = 0; q < KEPT; q++) {
    const int c = 4 * (threadIdx.x + ROW_THREADS * q);
    if (c >= K) continue;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      kept[q][i] = activated(kept[q][i], kind);
      if (other) kept[q][i] = __fmul_rn(kept[q][i], factors[q][i]);
    }
    if (out) store_quad(out, c, K, kept[q]);
    most = fmaxf(most, magnitude_of(kept[q]));
  }
  const float factor = isFloat16 ? split_factor(block_max_once(most, mosts)) : 1.0f;
  const float inverse = 1.0f / factor;
#pragma unroll
  for (int q = 0; q < KEPT; q++) {
    const int c = 4 * (threadIdx.x + ROW_THREADS * q);
    if (c < K) put_parts(parts, c, kept[q], inverse, isFloat16);
  }
  put_padding(parts, K, padded);
  return factor;
}

// The parts of a single row in shared memory, and what they are divided by. `room` is for the parts, and after them for K floats.
template <int FROM>
static __device__ __forceinline__ float make_parts(const LinearHalvesParams& p, uint4* room) {
  u32* words = (u32*)room;
  const Parts parts = {words, -1};
  const bool writes = blockIdx.x == 0;
  const int isFloat16 = FORMAT != BFLOAT16;
  if (FROM == ACTIVATED) {
    await_previous();
    const float* other = p.normHasAddend ? p.normZ.at : nullptr;
    return activated_row(p.normX.at, other, p.normKind, p.K, p.padded, parts, writes ? p.normOut.at : nullptr);
  }
  if (FROM == NORMED) {
    const RmsNormParams norm = {p.normX, p.normZ, p.normY, p.normWeight, p.normOut, words, nullptr, p.K, p.padded,
                                isFloat16, p.normHasAddend, 2, 0, p.normEps};
    return norm_row(norm, 0, parts, writes);
  }
  const GatedNormParams norm = {p.normX, p.normZ, p.normY, p.normSquareSums, p.normWeight, p.normOut, words, nullptr,
                                p.K, p.normGroups, p.normGroupSize, p.padded, isFloat16, 2, 0, p.normCount, p.normEps};
  return gated_norm_row(norm, 0, (float*)(words + p.padded), parts, writes);
}

static __device__ __forceinline__ void multiply(float* sums, const u32* a, const u32* b) {
  if (FORMAT == BFLOAT16) multiply_bfloats(sums, a, b);
  else multiply_halves(sums, a, b);
}

// Adds 32 inputs to the sums of M times 16 outputs and R times 8 rows: `low` and `high` are what a lane has of outputs g and g + 8,
// `parts` both parts of row g. Each sum gets its four products in one order, but those of different sums are issued by turns:
// the next one of the same sum would wait for the last.
template <int M, int R>
static __device__ __forceinline__ void add_inputs(
    float (*sums)[R][4], const uint4* low, const uint4* high, uint4 (*parts)[2], int numParts) {
#pragma unroll
  for (int turn = 0; turn < 4; turn++) {
    if (turn == 2 && numParts == 1) break;
#pragma unroll
    for (int m = 0; m < M; m++) {
      const u32 first[4] = {low[m].x, high[m].x, low[m].y, high[m].y}, second[4] = {low[m].z, high[m].z, low[m].w, high[m].w};
#pragma unroll
      for (int r = 0; r < R; r++) {
        const uint4 v = parts[r][turn / 2];
        const u32 left[2] = {v.x, v.y}, right[2] = {v.z, v.w};
        multiply(sums[m][r], turn % 2 ? second : first, turn % 2 ? right : left);
      }
    }
  }
}

static __device__ __forceinline__ int slice_steps(int padded) { return (padded / 32 + SLICES - 1) / SLICES; }
static __device__ __forceinline__ int steps_of(int slice, int padded) {
  const int size = slice_steps(padded), left = padded / 32 - slice * size;
  return left < 0 ? 0 : left < size ? left : size;
}

// Adds the products of 32 inputs and codes to the sums of a lane: `scales` are those of outputs g and g + 8. Where values are less
// than scaled codes, by `zeros`, the sums of 32 inputs of rows 2 t and 2 t + 1 say how much that makes.
static __device__ __forceinline__ void add_codes(float* sums, const float* part, const float* scales) {
#pragma unroll
  for (int i = 0; i < 4; i++) sums[i] = fmaf(scales[i / 2], part[i], sums[i]);
}
static __device__ __forceinline__ void subtract_zeros(float* sums, const float* zeros, const float* inputSums) {
#pragma unroll
  for (int i = 0; i < 4; i++) sums[i] = fmaf(-zeros[i / 2], inputSums[i % 2], sums[i]);
}
// What the row that a lane's sums are of has in the inputs of a step.
static __device__ __forceinline__ float input_sum(const LinearHalvesParams& p, int row, int step) {
  return p.inputSums[(long long)(row < p.T ? row : p.T - 1) * (p.padded / 32) + step];
}

// The sums of 16 outputs that all slices have left, each 32 lanes' four, in the slices' order.
static __device__ __forceinline__ float4 join_slices(const float4* all) {
  all += threadIdx.x % 32;
  float4 total = all[0];
#pragma unroll
  for (int s = 1; s < SLICES; s++) {
    const float4 v = all[32 * s];
    total.x += v.x, total.y += v.y, total.z += v.z, total.w += v.w;
  }
  return total;
}

// Of the sums of a single row and 16 outputs, which lanes 4 g have of g and g + 8, the one that lane 4 g has of g and the lane next to
// it of g + 8.
static __device__ __forceinline__ float own_output(float4 total) {
  const float second = __shfl_sync(ALL_LANES, total.z, threadIdx.x % 32 & ~3);
  return threadIdx.x % 4 == 0 ? total.x : second;
}

// Puts the outputs of a single row. Of 16 outputs lane 4 g has the sums of g and g + 8, and `own` is of g; in the lane next to it
// `own` is of g + 8.
static __device__ __forceinline__ void put_single(OwnOutput<LinearHalvesParams>& own, float4 total, float factor) {
  own.put(__fmul_rn(own_output(total), factor));
}

// Puts the output of up to 8 rows that a thread has, of 16: each slice has left its sums, four of each lane.
static __device__ __forceinline__ void put_few(OwnOutputs<1, LinearHalvesParams>& own, const float* sums) {
  if (own.n >= own.p.N || own.row >= own.p.T) return;
  const int n = threadIdx.x % 16, lane = n % 8 * 4 + own.row / 2;
  const float* from = sums + 4 * lane + n / 8 * 2 + own.row % 2;
  float total = from[0];
#pragma unroll
  for (int s = 1; s < SLICES; s++) total += from[s * 128];
  if (own.isPossible(own.p)) own.put(0, total);
  else put_output<true>(own.p, own.row, own.n, __fmul_rn(total, own.p.factors[own.row]));
}
// The thread's own of these outputs: threads that have none have output N.
static __device__ __forceinline__ OwnOutputs<1, LinearHalvesParams> own_of_few(const LinearHalvesParams& p, int output, bool isFew) {
  return {p, isFew && threadIdx.x < 128 ? output + (int)threadIdx.x % 16 : p.N, (int)threadIdx.x / 16, 8};
}

// The row and output of sum i of a lane, of 16 outputs from `output` on and of 8 rows from `row` on.
static __device__ __forceinline__ int row_of(int row, int i) { return row + threadIdx.x % 4 * 2 + i % 2; }
static __device__ __forceinline__ int output_of(int output, int i) { return output + i / 2 * 8 + threadIdx.x % 32 / 4; }
