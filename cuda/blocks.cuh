// Products of 16 outputs of a format of blocks, FORMAT, and up to 8 rows, a step of 32 inputs at a time: see halves.cuh. What a step's
// codes make is added times their scale; of Q6_K, which has a scale for 16 inputs, what 16 make, and then what the other 16 do.
#pragma once
#include "halves.cuh"
#include "step-codes.cuh"

// Whether values are less than scaled codes; and whether scales are of 16 inputs.
#define HAS_ZEROS (FORMAT == Q4_K || FORMAT == Q5_K)
#define HAS_PAIRS (FORMAT == Q6_K)

// Pieces of 16 bytes that a warp has room for, of the codes of two steps, and where piece t of output r lies among those of a step, against
// conflicts of banks.
#define CODE_PIECES 128
static __device__ __forceinline__ int place_of_codes(int r, int t) { return 4 * r + (t ^ r / 2 % 4); }

// The codes of an output's step by lanes t that multiply them: eight neighbours each. Of Q6_K four of the first 16 inputs and four of the
// others, from 4 t on each, so that a multiplication takes inputs of one scale. → the scale, and what codes or values are less by; of Q6_K
// both scales
static __device__ __forceinline__ float2 lane_codes(const u8* row, int step, Eight* e) {
  if (!HAS_PAIRS) {
    codes_of_step<FORMAT>(row, step, e);
    return make_float2(e[0].scale, e[0].zero);
  }
  const u8* block = row + step / 8 * 210ll;
  const int half = step / 4 % 2, quarter = step % 4;
  u32 lower[8], upper[8];
  load_words<8, 2>(block + half * 64 + quarter % 2 * 32, lower);
  load_words<8, 2>(block + 128 + half * 32, upper);
#pragma unroll
  for (int i = 0; i < 8; i++) {
    lower[i] = (lower[i] >> quarter / 2 * 4 & 0x0f0f0f0fu) | (upper[i] >> 2 * quarter & 0x03030303u) << 4;
  }
#pragma unroll
  for (int t = 0; t < 4; t++) e[t] = {lower[t], lower[4 + t], 0.0f, 32.0f, 0};
  const signed char* scales = (const signed char*)block + 192 + step % 8 * 2;
  const float own = half_at(block + 208);
  return make_float2(own * (float)scales[0], own * (float)scales[1]);
}

// Both parts of a row that a lane multiplies with them; `row` has the parts as split_rows makes them.
static __device__ __forceinline__ void lane_parts(const uint4* row, int step, uint4* parts) {
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    if (!HAS_PAIRS) {
      parts[i] = row[2 * (4 * step + t) + i];
      continue;
    }
    const uint2* from = (const uint2*)(row + 2 * (4 * step + t / 2) + i) + t % 2;
    const uint2 first = from[0], second = from[8];
    parts[i] = make_uint4(first.x, first.y, second.x, second.y);
  }
}

// Adds a step to a lane's sums: its codes of outputs g and g + 8 and their scales, its parts of row g, and where there are zeros the sums of
// the step's inputs of the two rows that the sums are of.
static __device__ __forceinline__ void add_step(
    float* sums, const uint4& low, const uint4& high, const float2* both, uint4* parts, const float* inputs, int numParts) {
  const float scales[2] = {both[0].x, both[1].x}, others[2] = {both[0].y, both[1].y};
  if (HAS_PAIRS) {
    const u32 first[4] = {low.x, high.x, low.y, high.y}, second[4] = {low.z, high.z, low.w, high.w};
    float part[2][4] = {};
#pragma unroll
    for (int i = 0; i < 2; i++) {
      if (i == 1 && numParts == 1) break;
      const u32 left[2] = {parts[i].x, parts[i].y}, right[2] = {parts[i].z, parts[i].w};
      multiply(part[0], first, left);
      multiply(part[1], second, right);
    }
    add_codes(sums, part[0], scales);
    add_codes(sums, part[1], others);
    return;
  }
  float part[1][1][4] = {};
  add_inputs<1, 1>(part, &low, &high, (uint4(*)[2])parts, numParts);
  add_codes(sums, part[0][0], scales);
  if (HAS_ZEROS) subtract_zeros(sums, others, inputs);
}

// The sums of a warp's slice of 16 outputs and up to 8 rows. A lane makes float16 of the codes of output lane % 16, whose weights are at
// `weights`, in one of two steps, and leaves them for all lanes in the warp's `room`. `x` has the parts of row g of a lane, or is null.
// `load_sums` gives the sums of a step's inputs of the rows that the lane's sums are of.
template <class LoadSums>
static __device__ __forceinline__ float4 slice_of(
    const u8* weights, const uint4* x, int padded, int numParts, uint4* room, LoadSums load_sums) {
  const int lane = threadIdx.x % 32, slice = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const int first = slice * slice_steps(padded), steps = steps_of(slice, padded);
  float sums[4] = {0, 0, 0, 0};
#pragma unroll 1
  for (int step = 0; step < steps; step += 2) {
    uint4 parts[2][2];
    float inputs[2][2];
#pragma unroll
    for (int u = 0; u < 2; u++) {
      const int at = first + (step + u < steps ? step + u : step);
      parts[u][0] = parts[u][1] = make_uint4(0, 0, 0, 0);
      if (x) lane_parts(x, at, parts[u]);
      if (HAS_ZEROS) load_sums(at, inputs[u]);
    }
    Eight e[4];
    const float2 own = lane_codes(weights, first + (step + lane / 16 < steps ? step + lane / 16 : step), e);
#pragma unroll
    for (int i = 0; i < 4; i++) room[lane / 16 * 64 + place_of_codes(lane % 16, i)] = halves_of<FORMAT>(e[i]);
    __syncwarp();
#pragma unroll
    for (int u = 0; u < 2; u++) {
      float2 both[2];
#pragma unroll
      for (int i = 0; i < 2; i++) {
        both[i].x = __shfl_sync(ALL_LANES, own.x, 16 * u + 8 * i + g);
        both[i].y = __shfl_sync(ALL_LANES, own.y, 16 * u + 8 * i + g);
      }
      const uint4* from = room + 64 * u + place_of_codes(g, t);
      if (step + u < steps) add_step(sums, from[0], from[32], both, parts[u], inputs[u], numParts);
    }
    __syncwarp();
  }
  return make_float4(sums[0], sums[1], sums[2], sums[3]);
}
