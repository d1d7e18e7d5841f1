// Weights as they lie in memory: rows of a format, eight neighbours at a time. Formats of blocks are the bytes that
// src/tensor/block-formats.ts describes. float32, float16 and bfloat16 are padded with zeros to whole eights.
#pragma once
#include "common.cuh"
#include "formats.cuh"

// Four bytes that begin at a multiple of `ALIGNED` bytes.
template <int ALIGNED>
static __device__ __forceinline__ u32 word_at(const u8* at) {
  if (ALIGNED == 4) return *(const u32*)at;
  if (ALIGNED == 2) return *(const u16*)at | ((u32) * (const u16*)(at + 2) << 16);
  return at[0] | ((u32)at[1] << 8) | ((u32)at[2] << 16) | ((u32)at[3] << 24);
}

static __device__ __forceinline__ float float_at(const u8* at) { return bits_to_float(*(const u32*)at); }
static __device__ __forceinline__ float half_at(const u8* at) { return half_to_float(*(const u16*)at); }

// 4 bits: a sign, and a magnitude of 0, 0.5, 1, 1.5, 2, 3, 4, 6.
static __device__ __forceinline__ float e2m1(u32 code) {
  const float magnitude = 0.5f * (float)((0xc8643210u >> (4 * (code & 7))) & 15);
  return code & 8 ? -magnitude : magnitude;
}

// A sign, an exponent of 4 bits with a bias of 7, and a fraction of 3.
static __device__ __forceinline__ float e4m3(u32 code) {
  const u32 magnitude = code & 127;
  const float v = magnitude < 8 ? (float)magnitude * 0.001953125f : bits_to_float((magnitude << 20) + 0x3c000000u);
  return code & 128 ? -v : v;
}

// 2^(code - 127).
static __device__ __forceinline__ float e8m0(u32 code) { return code == 0 ? 5.877471754111438e-39f : bits_to_float(code << 23); }

// Scale and minimum of one of the 8 parts of a block of Q4_K or Q5_K, which begins with `head`.
static __device__ __forceinline__ void k_scales(const uint4& head, int part, float& scale, float& minimum) {
  const int shift = part % 4 * 8;
  const u32 first = head.y >> shift, second = head.z >> shift, both = head.w >> shift;
  const u32 own = part < 4 ? first & 63 : (both & 15) | (first >> 6 & 3) << 4;
  const u32 less = part < 4 ? second & 63 : (both >> 4 & 15) | (second >> 6 & 3) << 4;
  scale = half_to_float(head.x & 0xffff) * (float)own, minimum = half_to_float(head.x >> 16) * (float)less;
}

// Eight codes of 4 bits as bytes: of 32 weights in 16 bytes, the lower halves are the first 16.
template <int ALIGNED>
static __device__ __forceinline__ void nibbles(const u8* codes, int eight, u32& low, u32& high) {
  const int shift = eight / 2 % 2 * 4;
  low = (word_at<ALIGNED>(codes + eight % 2 * 8) >> shift) & 0x0f0f0f0fu;
  high = (word_at<ALIGNED>(codes + eight % 2 * 8 + 4) >> shift) & 0x0f0f0f0fu;
}

static __device__ __forceinline__ u32 byte_of(u32 low, u32 high, int i) { return ((i < 4 ? low : high) >> (i % 4 * 8)) & 255; }

// Eight neighbouring weights of a block: a byte for each code, and what makes values of them.
struct Eight {
  u32 low, high;
  float scale;
  // What every code is less by; of Q4_K and Q5_K, what every value is less by.
  float zero;
  // The code of NVFP4's second scale.
  u32 part;
};

// Weights 8 * eight to 8 * eight + 7 of a row.
template <int F>
static __device__ __forceinline__ Eight codes_at(const u8* row, int eight) {
  Eight e = {0, 0, 0.0f, 0.0f, 0};
  if (F == Q8_0) {
    const u8* block = row + eight / 4 * 34ll;
    e.scale = half_at(block);
    e.low = word_at<2>(block + 2 + eight % 4 * 8), e.high = word_at<2>(block + 6 + eight % 4 * 8);
  } else if (F == Q4_0) {
    const u8* block = row + eight / 4 * 18ll;
    e.scale = half_at(block), e.zero = 8.0f;
    nibbles<2>(block + 2, eight, e.low, e.high);
  } else if (F == Q4_K || F == Q5_K) {
    const u8* block = row + eight / 32 * (F == Q4_K ? 144ll : 176ll);
    const int part = eight % 32 / 4, within = eight % 4 * 8, shift = part % 2 * 4;
    const u8* codes = block + (F == Q4_K ? 16 : 48) + part / 2 * 32 + within;
    const uint2 both = *(const uint2*)codes;
    e.low = (both.x >> shift) & 0x0f0f0f0fu, e.high = (both.y >> shift) & 0x0f0f0f0fu;
    if (F == Q5_K) {
      const uint2 fifth = *(const uint2*)(block + 16 + within);
      e.low |= ((fifth.x >> part) & 0x01010101u) << 4, e.high |= ((fifth.y >> part) & 0x01010101u) << 4;
    }
    k_scales(*(const uint4*)block, part, e.scale, e.zero);
  } else if (F == Q6_K) {
    const u8* block = row + eight / 32 * 210ll;
    const int half = eight / 16 % 2, quarter = eight / 4 % 4, within = eight % 4 * 8;
    const u8* lower = block + half * 64 + quarter % 2 * 32 + within;
    const u8* upper = block + 128 + half * 32 + within;
    const int shift = quarter / 2 * 4;
    e.low = ((word_at<2>(lower) >> shift) & 0x0f0f0f0fu) | (((word_at<2>(upper) >> (2 * quarter)) & 0x03030303u) << 4);
    e.high = ((word_at<2>(lower + 4) >> shift) & 0x0f0f0f0fu) | (((word_at<2>(upper + 4) >> (2 * quarter)) & 0x03030303u) << 4);
    e.scale = half_at(block + 208) * (float)(signed char)block[192 + eight % 32 / 2], e.zero = 32.0f;
  } else if (F == MXFP4) {
    const u8* block = row + eight / 4 * 17ll;
    e.scale = e8m0(block[0]);
    nibbles<1>(block + 1, eight, e.low, e.high);
  } else if (F == NVFP4) {
    const u8* block = row + eight / 16 * 76ll;
    e.scale = float_at(block), e.part = block[4 + eight % 16 / 2];
    nibbles<4>(block + 12 + eight % 16 / 4 * 16, eight, e.low, e.high);
  } else if (F == INT4_G32 || F == INT4_G64 || F == INT4_G128) {
    const int group = F == INT4_G32 ? 32 : F == INT4_G64 ? 64 : 128, words = 4 * (128 / group);
    const u8* block = row + eight / 16 * (long long)(64 + words);
    const u32 word = *(const u32*)(block + eight % 16 * 8 / group * 4);
    e.scale = bits_to_float(word & 0xffffff00u), e.zero = (float)(word & 255);
    nibbles<4>(block + words + eight % 16 / 4 * 16, eight, e.low, e.high);
  } else {
    const u8* block = row + eight / 16 * 132ll;
    e.scale = float_at(block);
    e.low = word_at<4>(block + 4 + eight % 16 * 8), e.high = word_at<4>(block + 8 + eight % 16 * 8);
  }
  return e;
}

// Weights 8 * eight to 8 * eight + 7 of a row, as floats.
template <int F>
static __device__ __forceinline__ void load_eight(const u8* row, int eight, float* w) {
  if (F == FLOAT32) {
    const float4 a = *(const float4*)(row + 32ll * eight), b = *(const float4*)(row + 32ll * eight + 16);
    w[0] = a.x, w[1] = a.y, w[2] = a.z, w[3] = a.w, w[4] = b.x, w[5] = b.y, w[6] = b.z, w[7] = b.w;
    return;
  }
  if (F == FLOAT16 || F == BFLOAT16) {
    const uint4 v = *(const uint4*)(row + 16ll * eight);
    const u32 pairs[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
      w[2 * i] = F == FLOAT16 ? half_to_float(pairs[i] & 0xffff) : bits_to_float(pairs[i] << 16);
      w[2 * i + 1] = F == FLOAT16 ? half_to_float(pairs[i] >> 16) : bits_to_float(pairs[i] & 0xffff0000u);
    }
    return;
  }
  const Eight e = codes_at<F>(row, eight);
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const u32 code = byte_of(e.low, e.high, i);
    if (F == Q8_0 || F == INT8_G128) w[i] = e.scale * (float)(signed char)code;
    else if (F == Q4_K || F == Q5_K) w[i] = fmaf(e.scale, (float)code, -e.zero);
    else if (F == MXFP4) w[i] = e.scale * e2m1(code);
    else if (F == NVFP4) w[i] = e.scale * (e4m3(e.part) * e2m1(code));
    else if (F == F8_E4M3) w[i] = e.scale * e4m3(code);
    else w[i] = e.scale * ((float)code - e.zero);
  }
}

// Two codes that lie in the low bytes of halves, as float16: their integers less `zero`. 1024 and a byte is a float16's last bits.
static __device__ __forceinline__ u32 integers(u32 pair, u32 zero) {
  const u32 offset = 0x6400u + zero;
  return subtract_halves(pair | 0x64006400u, offset | (offset << 16));
}

// The numbers of 8 and 4 bits are float16 whose exponents are too small by 8 and 14.
static __device__ __forceinline__ u32 e4m3_pair(u32 pair) {
  return scale_halves(((pair & 0x00800080u) << 8) | ((pair & 0x007f007fu) << 7), 0x5c005c00u);
}
static __device__ __forceinline__ u32 e2m1_pair(u32 pair) {
  return scale_halves(((pair & 0x00080008u) << 12) | ((pair & 0x00070007u) << 9), 0x74007400u);
}

// The codes as float16, which holds them all, in their order; times e.scale they are the weights, but of Q4_K and Q5_K, which
// are less by e.zero.
template <int F>
static __device__ __forceinline__ uint4 halves_of(const Eight& e) {
  u32 v[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const u32 word = i < 2 ? e.low : e.high;
    if (F == Q8_0 || F == INT8_G128) {
      v[i] = integers(__byte_perm(word ^ 0x80808080u, 0, i % 2 ? 0x4342 : 0x4140), 128);
      continue;
    }
    const u32 pair = __byte_perm(word, 0, i % 2 ? 0x4342 : 0x4140);
    if (F == F8_E4M3) v[i] = e4m3_pair(pair);
    else if (F == MXFP4) v[i] = e2m1_pair(pair);
    else if (F == NVFP4) v[i] = scale_halves(e2m1_pair(pair), e4m3_pair(e.part | (e.part << 16)));
    else v[i] = integers(pair, F == Q4_K || F == Q5_K ? 0 : (u32)e.zero);
  }
  return make_uint4(v[0], v[1], v[2], v[3]);
}

// The name of a kernel for FORMAT: linear_vector_FLOAT32.
#define JOIN(NAME, F) NAME##_##F
#define JOINED(NAME, F) JOIN(NAME, F)
#define OF_FORMAT(NAME) JOINED(NAME, FORMAT)
