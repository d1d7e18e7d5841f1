// Products of 16 outputs of a format of blocks, FORMAT, and up to 8 rows, a step of 32 inputs at a time: see halves.cuh. What a step's
// codes make is added times their scale; of Q6_K, which has a scale for 16 inputs, what 16 make, and then what the other 16 do.
#pragma once
#include "halves.cuh"

// Whether values are less than scaled codes; and whether scales are of 16 inputs.
#define HAS_ZEROS (FORMAT == Q4_K || FORMAT == Q5_K)
#define HAS_PAIRS (FORMAT == Q6_K)

// What lane 4 g + t multiplies of an output's step: eight neighbours. Of Q6_K four of the first 16 inputs and four of the others, from
// 4 t on each, so that a multiplication takes inputs of one scale; `part` has the bits of the second scale.
static __device__ __forceinline__ Eight lane_codes(const u8* row, int step) {
  const int t = threadIdx.x % 4;
  if (!HAS_PAIRS) return codes_at<FORMAT>(row, 4 * step + t);
  const u8* block = row + step / 8 * 210ll;
  const int half = step / 4 % 2, quarter = step % 4;
  const u8* lower = block + half * 64 + quarter % 2 * 32 + 4 * t;
  const u8* upper = block + 128 + half * 32 + 4 * t;
  const int shift = quarter / 2 * 4;
  Eight e;
  e.low = (word_at<2>(lower) >> shift & 0x0f0f0f0fu) | (word_at<2>(upper) >> 2 * quarter & 0x03030303u) << 4;
  e.high = (word_at<2>(lower + 16) >> shift & 0x0f0f0f0fu) | (word_at<2>(upper + 16) >> 2 * quarter & 0x03030303u) << 4;
  const float own = half_at(block + 208);
  const signed char* scales = (const signed char*)block + 192 + step % 8 * 2;
  e.scale = own * (float)scales[0], e.zero = 32.0f, e.part = __float_as_uint(own * (float)scales[1]);
  return e;
}

// The scale of an output's step and what codes or values are less by; of Q6_K both scales.
static __device__ __forceinline__ float2 step_scales(const u8* row, int step) {
  if (!HAS_PAIRS) {
    const Eight e = codes_at<FORMAT>(row, 4 * step);
    return make_float2(e.scale, e.zero);
  }
  const u8* block = row + step / 8 * 210ll;
  const signed char* scales = (const signed char*)block + 192 + step % 8 * 2;
  const float own = half_at(block + 208);
  return make_float2(own * (float)scales[0], own * (float)scales[1]);
}

// Puts those of 16 outputs and all steps, step by step, by a block of 256; `row_of_output` gives an output's row.
template <class RowOf>
static __device__ __forceinline__ void put_scales(float2* scales, int steps, RowOf row_of_output) {
  const u8* row = row_of_output(threadIdx.x % 16);
  for (int step = threadIdx.x / 16; step < steps; step += 16) scales[16 * step + threadIdx.x % 16] = step_scales(row, step);
}

// lane_codes with scales that were put: those of the output's step.
static __device__ __forceinline__ Eight scaled_codes(const u8* row, int step, const float2& scales) {
  Eight e = lane_codes(row, step);
  e.scale = scales.x;
  if (HAS_PAIRS) e.part = __float_as_uint(scales.y);
  else e.zero = scales.y;
  return e;
}

// Both parts of a row that it multiplies with them; `row` has the parts as split_rows makes them.
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

// Adds a step to a lane's sums: its codes of outputs g and g + 8, its parts of row g, and where there are zeros the sums of the step's
// inputs of the two rows that the sums are of.
static __device__ __forceinline__ void add_step(
    float* sums, const Eight* codes, uint4* parts, const float* inputs, int numParts) {
  const uint4 low = halves_of<FORMAT>(codes[0]), high = halves_of<FORMAT>(codes[1]);
  const float scales[2] = {codes[0].scale, codes[1].scale};
  if (HAS_PAIRS) {
    const u32 first[4] = {low.x, high.x, low.y, high.y}, second[4] = {low.z, high.z, low.w, high.w};
    const float others[2] = {bits_to_float(codes[0].part), bits_to_float(codes[1].part)};
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
  if (!HAS_ZEROS) return;
  const float zeros[2] = {codes[0].zero, codes[1].zero};
  subtract_zeros(sums, zeros, inputs);
}
