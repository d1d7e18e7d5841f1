// 32 neighbouring weights of a format of blocks at a time, read by one thread in pieces that are as large as the format allows: what a
// warp reads of many rows costs by the number of its instructions.
#pragma once
#include "weights.cuh"

// N words that begin at any byte, for ALIGNED 1, or at an even one, for 2. Up to 3 bytes more are read, of the last word.
template <int N, int ALIGNED>
static __device__ __forceinline__ void load_words(const u8* at, u32* w) {
  const int shift = (int)((u64)at & 3) * 8;
  const u32* words = (const u32*)(at - shift / 8);
  u32 next = words[0];
#pragma unroll
  for (int i = 0; i < N; i++) {
    const u32 low = next;
    next = i + 1 < N || shift > 0 ? words[i + 1] : 0;
    if (ALIGNED == 2) w[i] = shift == 0 ? low : low >> 16 | next << 16;
    else w[i] = shift == 0 ? low : low >> shift | next << (32 - shift);
  }
}

// N words, 4 at a time, that begin at a multiple of 16 bytes.
template <int N>
static __device__ __forceinline__ void load_quads(const u8* at, u32* w) {
#pragma unroll
  for (int i = 0; i < N; i += 4) {
    const uint4 v = *(const uint4*)(at + 4 * i);
    w[i] = v.x, w[i + 1] = v.y, w[i + 2] = v.z, w[i + 3] = v.w;
  }
}

// Four codes of Q6_K that are 0.
#define NO_CODES 0x20202020u

// For kernels whose steps have one scale, 16 codes of Q6_K are spread over the 32 places of a step: four at the beginning of each eight,
// then zeros. A multiplication of 16 inputs has one scale's then, and the other of the step has none. Places 8 * eight to 8 * eight + 7.
static __device__ __forceinline__ Eight spread_codes(const u8* row, int eight) {
  const Eight e = codes_at<Q6_K>(row, eight / 2);
  return {eight % 2 ? e.high : e.low, NO_CODES, e.scale, e.zero, 0};
}

// Weights 32 * step to 32 * step + 31 of a row: what codes_at gives for its four eights. Of Q6_K, what spread_codes does.
template <int F>
static __device__ __forceinline__ void codes_of_step(const u8* row, int step, Eight* e) {
  u32 w[8];
  if (F == Q6_K) {
    const u8* block = row + step / 16 * 210ll;
    const int half = step / 8 % 2, quarter = step / 2 % 4, within = step % 2 * 16;
    u32 upper[4];
    load_words<4, 2>(block + half * 64 + quarter % 2 * 32 + within, w);
    load_words<4, 2>(block + 128 + half * 32 + within, upper);
    const float scale = half_at(block + 208) * (float)((const signed char*)block)[192 + step % 16];
#pragma unroll
    for (int t = 0; t < 4; t++) {
      const u32 codes = (w[t] >> quarter / 2 * 4 & 0x0f0f0f0fu) | (upper[t] >> 2 * quarter & 0x03030303u) << 4;
      e[t] = {codes, NO_CODES, scale, 32.0f, 0};
    }
    return;
  }
  if (F == Q8_0 || F == INT8_G128 || F == F8_E4M3) {
    float scale;
    if (F == Q8_0) {
      const u8* block = row + step * 34ll;
      scale = half_at(block);
      load_words<8, 2>(block + 2, w);
    } else {
      const u8* block = row + step / 4 * 132ll;
      scale = float_at(block);
#pragma unroll
      for (int i = 0; i < 8; i++) w[i] = *(const u32*)(block + 4 + step % 4 * 32 + 4 * i);
    }
#pragma unroll
    for (int t = 0; t < 4; t++) e[t] = {w[2 * t], w[2 * t + 1], scale, 0.0f, 0};
    return;
  }
  if (F == Q4_K || F == Q5_K) {
    const u8* block = row + step / 8 * (F == Q4_K ? 144ll : 176ll);
    const int part = step % 8;
    float own, less;
    k_scales(*(const uint4*)block, part, own, less);
    load_quads<8>(block + (F == Q4_K ? 16 : 48) + part / 2 * 32, w);
    u32 fifth[8];
    if (F == Q5_K) load_quads<8>(block + 16, fifth);
#pragma unroll
    for (int i = 0; i < 8; i++) {
      w[i] = w[i] >> part % 2 * 4 & 0x0f0f0f0fu;
      if (F == Q5_K) w[i] |= (fifth[i] >> part & 0x01010101u) << 4;
    }
#pragma unroll
    for (int t = 0; t < 4; t++) e[t] = {w[2 * t], w[2 * t + 1], own, less, 0};
    return;
  }
  // Formats of 4 bits: the lower halves of 16 bytes are the first 16.
  float scale, zero = 0;
  u32 parts = 0;
  if (F == Q4_0) {
    const u8* block = row + step * 18ll;
    scale = half_at(block), zero = 8.0f;
    load_words<4, 2>(block + 2, w);
  } else if (F == MXFP4) {
    const u8* block = row + step * 17ll;
    scale = e8m0(block[0]);
    load_words<4, 1>(block + 1, w);
  } else if (F == NVFP4) {
    const u8* block = row + step / 4 * 76ll;
    scale = float_at(block), parts = *(const u16*)(block + 4 + step % 4 * 2);
#pragma unroll
    for (int i = 0; i < 4; i++) w[i] = *(const u32*)(block + 12 + step % 4 * 16 + 4 * i);
  } else {
    const int group = F == INT4_G32 ? 32 : F == INT4_G64 ? 64 : 128, words = 4 * (128 / group);
    const u8* block = row + step / 4 * (long long)(64 + words);
    const u32 word = *(const u32*)(block + step % 4 * 32 / group * 4);
    scale = bits_to_float(word & 0xffffff00u), zero = (float)(word & 255);
    const u8* codes = block + words + step % 4 * 16;
    if (F == INT4_G32) {
      load_quads<4>(codes, w);
    } else {
#pragma unroll
      for (int i = 0; i < 4; i++) w[i] = *(const u32*)(codes + 4 * i);
    }
  }
#pragma unroll
  for (int t = 0; t < 4; t++) {
    const u32 low = w[t % 2 * 2] >> t / 2 * 4 & 0x0f0f0f0fu, high = w[t % 2 * 2 + 1] >> t / 2 * 4 & 0x0f0f0f0fu;
    e[t] = {low, high, scale, zero, parts >> t / 2 * 8 & 255};
  }
}
