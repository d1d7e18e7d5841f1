// The paged cache of keys and values in FORMAT, and attention over it.
//
// A head's row of the cache begins at a word of 32 bits. Numbers of 16 or 8 bits lie in the words in their order, the first in
// the lowest bits; what a row's last word has beyond the head's columns is 0. They are rounded when they are written, to the
// nearest with ties to even. float16 and the two of 8 bits saturate, and NaN stays NaN. Attention computes in float32.
#include "common.cuh"

enum CacheFormat { FLOAT32, FLOAT16, BFLOAT16, F8_E4M3, F8_E5M2 };

#define JOINED_NAMES(NAME, OTHER) NAME##_##OTHER
#define JOINED(NAME, OTHER) JOINED_NAMES(NAME, OTHER)
#define OF_FORMAT(NAME) JOINED(NAME, FORMAT)

// Numbers in a word, and bytes of one.
#define PER_WORD (FORMAT == FLOAT32 ? 1 : FORMAT == FLOAT16 || FORMAT == BFLOAT16 ? 2 : 4)
#define BYTES (4 / PER_WORD)

static __device__ __forceinline__ u32 absolute_bits(float v) { return __float_as_uint(v) & 0x7fffffffu; }

// The code of a number of 8 bits. Numbers without an implicit leading one have the distance of those of float32 from
// `large` on.
static __device__ __forceinline__ u32 code_of(float v, int fraction, u32 least, float large, u32 most, u32 nan) {
  const u32 bits = absolute_bits(v);
  const int shift = 23 - fraction;
  const u32 sign = (__float_as_uint(v) >> 24) & 0x80u;
  if (bits > 0x7f800000u) return sign | nan;
  const u32 normal = ((bits + (1u << (shift - 1)) - 1 + ((bits >> shift) & 1)) >> shift) - ((least >> shift) - (1u << fraction));
  const u32 subnormal = __float_as_uint(__fadd_rn(bits_to_float(bits), large)) - __float_as_uint(large);
  const u32 code = bits < least ? subnormal : normal;
  return sign | (code < most ? code : most);
}

// Up to four numbers as a word.
static __device__ __forceinline__ u32 word_of(const float* v) {
  if (FORMAT == FLOAT32) return __float_as_uint(v[0]);
  if (FORMAT == BFLOAT16) return floats_to_bfloats(v[0], v[1]);
  u32 word = 0;
  if (FORMAT == FLOAT16) {
    float held[2];
    // fminf and fmaxf would make numbers of NaN. Rounding takes none of the largest values further.
    for (int i = 0; i < 2; i++) held[i] = v[i] > 65504.0f ? 65504.0f : v[i] < -65504.0f ? -65504.0f : v[i];
    word = floats_to_halves(held[0], held[1]);
  }
  if (FORMAT == F8_E4M3) {
    for (int i = 0; i < 4; i++) word |= code_of(v[i], 3, 0x3c800000u, 16384.0f, 0x7e, 0x7f) << (8 * i);
  }
  if (FORMAT == F8_E5M2) {
    for (int i = 0; i < 4; i++) word |= code_of(v[i], 2, 0x38800000u, 128.0f, 0x7b, 0x7e) << (8 * i);
  }
  return word;
}

// Two codes of 8 bits as float16, which holds all their numbers.
static __device__ __forceinline__ u32 halves_of_codes(u32 codes) {
  if (FORMAT == F8_E5M2) return (codes & 0xffu) << 8 | (codes & 0xff00u) << 16;
  const u32 pair = (codes & 0xffu) | (codes & 0xff00u) << 8;
  const u32 magnitudes = pair & 0x007f007fu;
  // The largest magnitude is NaN. The exponents of the others are too small by 8.
  const u32 nans = ((magnitudes + 0x00010001u) & 0x00800080u) * 0xf8u;
  return scale_halves((pair & 0x00800080u) << 8 | magnitudes << 7 | nans, 0x5c005c00u);
}

static __device__ __forceinline__ void two_halves(u32 halves, float* v) {
  v[0] = half_to_float(halves & 0xffffu);
  v[1] = half_to_float(halves >> 16);
}

// Neighbouring columns of a row as they lie in memory: COUNT of them, 1 or 8.
template <int COUNT>
struct Columns {
  u32 words[COUNT * BYTES > 4 ? COUNT * BYTES / 4 : 1];
};

template <int COUNT>
static __device__ __forceinline__ Columns<COUNT> columns_at(const u8* row, int first) {
  const u8* at = row + first * BYTES;
  Columns<COUNT> c;
  if (COUNT * BYTES == 32) {
    const uint4 v = *(const uint4*)at, w = *(const uint4*)(at + 16);
    c.words[0] = v.x, c.words[1] = v.y, c.words[2] = v.z, c.words[3] = v.w;
    c.words[4] = w.x, c.words[5] = w.y, c.words[6] = w.z, c.words[7] = w.w;
  } else if (COUNT * BYTES == 16) {
    const uint4 v = *(const uint4*)at;
    c.words[0] = v.x, c.words[1] = v.y, c.words[2] = v.z, c.words[3] = v.w;
  } else if (COUNT * BYTES == 8) {
    const uint2 v = *(const uint2*)at;
    c.words[0] = v.x, c.words[1] = v.y;
  } else if (COUNT * BYTES == 4) {
    c.words[0] = *(const u32*)at;
  } else {
    c.words[0] = COUNT * BYTES == 2 ? *(const u16*)at : *at;
  }
  return c;
}

template <int COUNT>
static __device__ __forceinline__ void floats_of(const Columns<COUNT>& c, float* v) {
  if (FORMAT == FLOAT32) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) v[i] = bits_to_float(c.words[i]);
  } else if (COUNT == 1) {
    u32 half = c.words[0];
    if (BYTES == 1) half = halves_of_codes(half) & 0xffffu;
    v[0] = FORMAT == BFLOAT16 ? bits_to_float(half << 16) : half_to_float(half);
  } else {
#pragma unroll
    for (int i = 0; i < COUNT; i += 2) {
      const u32 word = c.words[i * BYTES / 4];
      if (FORMAT == BFLOAT16) {
        v[i] = bits_to_float(word << 16);
        v[i + 1] = bits_to_float(word & 0xffff0000u);
      } else {
        two_halves(BYTES == 2 ? word : halves_of_codes(word >> (8 * (i % 4))), v + i);
      }
    }
  }
}

struct ReshapeAndCacheParams {
  Rows key;
  Rows value;
  Rows keyCache;
  Rows valueCache;
  const int* slots;
  int T;
  int heads;
  int D;
  int blockSize;
};

// Puts row t of key and value in cache slot slots[t]; -1 is left out. key, value (T, heads * D), caches (blocks, words of
// blockSize * heads rows). Grid: a thread for each word of each row.
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(reshape_and_cache)(const ReshapeAndCacheParams p) {
  const int perHead = (p.D + PER_WORD - 1) / PER_WORD;
  long long t;
  int w;
  if (!element_of(p.T, p.heads * perHead, t, w)) return;
  const int slot = p.slots[t];
  if (slot < 0) return;
  const long long block = slot / p.blockSize;
  const long long within = (long long)(slot % p.blockSize) * p.heads * perHead + w;
  const int head = w / perHead, first = w % perHead * PER_WORD;
  float keys[4], values[4];
#pragma unroll
  for (int i = 0; i < PER_WORD; i++) {
    const bool isInside = first + i < p.D;
    keys[i] = isInside ? element(p.key, t, head * p.D + first + i) : 0.0f;
    values[i] = isInside ? element(p.value, t, head * p.D + first + i) : 0.0f;
  }
  p.keyCache.at[block * p.keyCache.stride + within] = bits_to_float(word_of(keys));
  p.valueCache.at[block * p.valueCache.stride + within] = bits_to_float(word_of(values));
}

struct PagedAttentionParams {
  Rows query;
  Rows keyCache;
  Rows valueCache;
  Rows out;
  const int* starts;
  const int* contextLens;
  const int* blockTables;
  int count;
  int width;
  int blockSize;
  int heads;
  int kvHeads;
  int D;
  // Query heads that a block of the kernels for groups computes, at most: parts of those that share a head of keys.
  int groupHeads;
  float scale;
  int window;
};

#define WARPS 4

// out[t, h] = Σ_j softmax_j(scale * q · k_j) v_j over the keys up to the row's own, the last `window` of them, for heads of any
// number of columns up to 512. Warp w has every fourth key of the sequence from its key w on, in ascending order; then the
// warps' sums are joined in their order.
// query, out (T, heads * D), caches (blocks, blockSize, kvHeads, D). Grid: (T * heads), blocks of 128.
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(paged_attention)(const PagedAttentionParams p) {
  const int OWN = 16;
  __shared__ float outs[WARPS][32 * OWN];
  __shared__ float mosts[WARPS];
  __shared__ float totals[WARPS];
  const int h = blockIdx.x % p.heads;
  const long long t = blockIdx.x / p.heads;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int s = sequence_of(p.starts, p.count, (int)t);
  const int context = p.contextLens[s];
  const int visible = context == 0 ? 0 : context - (p.starts[s + 1] - 1 - (int)t);
  const int unseen = visible > p.window ? visible - p.window : 0;
  const int* table = p.blockTables + (long long)s * p.width;
  const int rowBytes = (p.D + PER_WORD - 1) / PER_WORD * 4;
  const int kvHead = h / (p.heads / p.kvHeads);
  float query[OWN], sum[OWN];
#pragma unroll
  for (int i = 0; i < OWN; i++) {
    const int d = lane + 32 * i;
    query[i] = d < p.D ? element(p.query, t, h * p.D + d) * p.scale : 0.0f;
    sum[i] = 0;
  }
  float most = -INFINITY, total = 0;
  for (int j = unseen + ((warp - unseen) & (WARPS - 1)); j < visible; j += WARPS) {
    const long long block = table[j / p.blockSize];
    const long long within = ((long long)(j % p.blockSize) * p.kvHeads + kvHead) * rowBytes;
    const u8* key = (const u8*)(p.keyCache.at + block * p.keyCache.stride) + within;
    const u8* value = (const u8*)(p.valueCache.at + block * p.valueCache.stride) + within;
    float product = 0, values[OWN];
#pragma unroll
    for (int i = 0; i < OWN; i++) {
      const int d = lane + 32 * i;
      float k = 0;
      values[i] = 0;
      if (d < p.D) {
        floats_of<1>(columns_at<1>(key, d), &k);
        floats_of<1>(columns_at<1>(value, d), &values[i]);
      }
      product = fmaf(query[i], k, product);
    }
    product = warp_sum(product);
    const float next = fmaxf(most, product);
    const float kept = expf(most - next), weight = expf(product - next);
    total = fmaf(total, kept, weight);
#pragma unroll
    for (int i = 0; i < OWN; i++) sum[i] = fmaf(sum[i], kept, weight * values[i]);
    most = next;
  }
#pragma unroll
  for (int i = 0; i < OWN; i++) outs[warp][lane + 32 * i] = sum[i];
  if (lane == 0) {
    mosts[warp] = most;
    totals[warp] = total;
  }
  __syncthreads();
  float all = mosts[0];
  for (int w = 1; w < WARPS; w++) all = fmaxf(all, mosts[w]);
  for (int d = threadIdx.x; d < p.D; d += 32 * WARPS) {
    float joined = 0, weights = 0;
    for (int w = 0; w < WARPS; w++) {
      const float factor = mosts[w] == -INFINITY ? 0.0f : expf(mosts[w] - all);
      joined = fmaf(factor, outs[w][d], joined);
      weights = fmaf(factor, totals[w], weights);
    }
    p.out.at[t * p.out.stride + (long long)h * p.D + d] = weights > 0 ? joined / weights : 0.0f;
  }
}

// The same for up to four query heads that share a head of keys, so that these are read and widened once. LANES lanes have
// 8 columns each of a key, and a warp has 32 / LANES keys at once. Key j of the sequence is that of lanes j mod 32 / LANES
// of warp j / (32 / LANES) mod GROUP_WARPS, so what is summed in which order depends on the row's position alone.
// D is a multiple of 8. Grid: (T * kvHeads * parts), blocks of 256.
#define GROUP_WARPS 8
#define GROUP_HEADS 4
#define NO_SCORE -3.0e38f

template <int LANES>
static __device__ __forceinline__ void group_attention(const PagedAttentionParams& p) {
  const int KEYS = 32 / LANES, STRIDE = GROUP_WARPS * KEYS, AHEAD = 2;
  __shared__ float outs[GROUP_WARPS][GROUP_HEADS][8 * LANES];
  __shared__ float mosts[GROUP_WARPS][GROUP_HEADS];
  __shared__ float totals[GROUP_WARPS][GROUP_HEADS];
  const int share = p.heads / p.kvHeads;
  const int parts = (share + p.groupHeads - 1) / p.groupHeads;
  const int group = blockIdx.x % (p.kvHeads * parts);
  const long long t = blockIdx.x / (p.kvHeads * parts);
  const int kvHead = group / parts;
  const int firstHead = kvHead * share + group % parts * p.groupHeads;
  const int rest = share - group % parts * p.groupHeads;
  const int heads = rest < p.groupHeads ? rest : p.groupHeads;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int column = lane % LANES * 8;
  const bool isInside = column < p.D;
  const int s = sequence_of(p.starts, p.count, (int)t);
  const int context = p.contextLens[s];
  const int visible = context == 0 ? 0 : context - (p.starts[s + 1] - 1 - (int)t);
  const int unseen = visible > p.window ? visible - p.window : 0;
  const int* table = p.blockTables + (long long)s * p.width;
  const int rowBytes = (p.D + PER_WORD - 1) / PER_WORD * 4;
  float query[GROUP_HEADS][8], sum[GROUP_HEADS][8], most[GROUP_HEADS], total[GROUP_HEADS];
#pragma unroll
  for (int h = 0; h < GROUP_HEADS; h++) {
#pragma unroll
    for (int e = 0; e < 8; e++) {
      query[h][e] = h < heads && isInside ? element(p.query, t, (firstHead + h) * p.D + column + e) * p.scale : 0.0f;
      sum[h][e] = 0;
    }
    most[h] = NO_SCORE;
    total[h] = 0;
  }
#pragma unroll 1
  for (int begin = unseen / STRIDE * STRIDE; begin < visible; begin += STRIDE * AHEAD) {
    Columns<8> keys[AHEAD], values[AHEAD];
#pragma unroll
    for (int a = 0; a < AHEAD; a++) {
      const int j = begin + STRIDE * a + warp * KEYS + lane / LANES;
      keys[a] = values[a] = Columns<8>();
      if (isInside && j >= unseen && j < visible) {
        const u32 block = (u32)j / (u32)p.blockSize, offset = (u32)j % (u32)p.blockSize;
        const long long within = ((long long)offset * p.kvHeads + kvHead) * rowBytes;
        const long long at = table[block];
        keys[a] = columns_at<8>((const u8*)(p.keyCache.at + at * p.keyCache.stride) + within, column);
        values[a] = columns_at<8>((const u8*)(p.valueCache.at + at * p.valueCache.stride) + within, column);
      }
    }
#pragma unroll
    for (int a = 0; a < AHEAD; a++) {
      const int j = begin + STRIDE * a + warp * KEYS + lane / LANES;
      const bool isSeen = j >= unseen && j < visible;
      float k[8], v[8];
      floats_of<8>(keys[a], k);
      floats_of<8>(values[a], v);
#pragma unroll
      for (int h = 0; h < GROUP_HEADS; h++) {
        if (h >= heads) break;
        float product = 0;
#pragma unroll
        for (int e = 0; e < 8; e++) product = fmaf(query[h][e], k[e], product);
#pragma unroll
        for (int offset = LANES / 2; offset > 0; offset >>= 1) product += __shfl_xor_sync(ALL_LANES, product, offset);
        const float next = isSeen ? fmaxf(most[h], product) : most[h];
        const float kept = expf(most[h] - next), weight = isSeen ? expf(product - next) : 0.0f;
        total[h] = fmaf(total[h], kept, weight);
#pragma unroll
        for (int e = 0; e < 8; e++) sum[h][e] = fmaf(weight, v[e], sum[h][e] * kept);
        most[h] = next;
      }
    }
  }
#pragma unroll
  for (int h = 0; h < GROUP_HEADS; h++) {
    if (h >= heads) break;
#pragma unroll
    for (int offset = 16; offset >= LANES; offset >>= 1) {
      const float other = __shfl_xor_sync(ALL_LANES, most[h], offset);
      const float all = fmaxf(most[h], other);
      const float own = expf(most[h] - all), others = expf(other - all);
      total[h] = fmaf(total[h], own, __fmul_rn(__shfl_xor_sync(ALL_LANES, total[h], offset), others));
#pragma unroll
      for (int e = 0; e < 8; e++) {
        sum[h][e] = fmaf(sum[h][e], own, __fmul_rn(__shfl_xor_sync(ALL_LANES, sum[h][e], offset), others));
      }
      most[h] = all;
    }
    if (lane < LANES) {
#pragma unroll
      for (int e = 0; e < 8; e++) outs[warp][h][column + e] = sum[h][e];
    }
    if (lane == 0) {
      mosts[warp][h] = most[h];
      totals[warp][h] = total[h];
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < heads * p.D; i += 32 * GROUP_WARPS) {
    const int h = i / p.D, d = i % p.D;
    float all = mosts[0][h];
    for (int w = 1; w < GROUP_WARPS; w++) all = fmaxf(all, mosts[w][h]);
    float joined = 0, weights = 0;
    for (int w = 0; w < GROUP_WARPS; w++) {
      const float factor = expf(mosts[w][h] - all);
      joined = fmaf(factor, outs[w][h][d], joined);
      weights = fmaf(factor, totals[w][h], weights);
    }
    p.out.at[t * p.out.stride + (long long)(firstHead + h) * p.D + d] = visible > 0 ? joined / weights : 0.0f;
  }
}

extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(group_attention_64)(const PagedAttentionParams p) { group_attention<8>(p); }
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(group_attention_128)(const PagedAttentionParams p) { group_attention<16>(p); }
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(group_attention_256)(const PagedAttentionParams p) { group_attention<32>(p); }
