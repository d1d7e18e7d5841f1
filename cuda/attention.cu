// Attention over a paged cache, and rotary positions.
#include "common.cuh"

struct RotaryTableParams {
  const int* positions;
  Rows frequencies;
  Rows out;
  int T;
  int half;
  float scale;
};

// out[t] = cosines, then sines, of position * frequency (in float32), times `scale`. out (T, 2 * half).
// Grid: a thread for each row and frequency.
extern "C" __global__ void __launch_bounds__(256) rotary_table(const RotaryTableParams p) {
  long long t;
  int i;
  if (!element_of(p.T, p.half, t, i)) return;
  const float angle = __fmul_rn((float)p.positions[t], vector_at(p.frequencies, i));
  float* out = p.out.at + t * p.out.stride + i;
  out[0] = cosf(angle) * p.scale;
  out[p.half] = sinf(angle) * p.scale;
}

struct RotaryEmbeddingParams {
  Rows x;
  Rows table;
  Rows out;
  int T;
  int C;
  int headDim;
  int half;
};

// Rotates columns i and i + half of each head by the row's angles; columns from 2 * half on pass. x, out (T, C).
// Grid: an element a thread.
extern "C" __global__ void __launch_bounds__(256) rotary_embedding(const RotaryEmbeddingParams p) {
  long long t;
  int c;
  if (!element_of(p.T, p.C, t, c)) return;
  const int i = c % p.headDim;
  float v = element(p.x, t, c);
  if (i < p.half) {
    v = v * element(p.table, t, i) - element(p.x, t, c + p.half) * element(p.table, t, p.half + i);
  } else if (i < 2 * p.half) {
    v = v * element(p.table, t, i - p.half) + element(p.x, t, c - p.half) * element(p.table, t, i);
  }
  p.out.at[t * p.out.stride + c] = v;
}

struct ReshapeAndCacheParams {
  Rows key;
  Rows value;
  Rows keyCache;
  Rows valueCache;
  const int* slots;
  int T;
  int C;
  int blockSize;
};

// Puts row t of key and value in cache slot slots[t]; -1 is left out. key, value (T, C), caches (blocks, blockSize * C).
// Grid: an element a thread.
extern "C" __global__ void __launch_bounds__(256) reshape_and_cache(const ReshapeAndCacheParams p) {
  long long t;
  int c;
  if (!element_of(p.T, p.C, t, c)) return;
  const int slot = p.slots[t];
  if (slot < 0) return;
  const long long block = slot / p.blockSize;
  const long long within = (long long)(slot % p.blockSize) * p.C + c;
  p.keyCache.at[block * p.keyCache.stride + within] = element(p.key, t, c);
  p.valueCache.at[block * p.valueCache.stride + within] = element(p.value, t, c);
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
  float scale;
  int window;
};

#define WARPS 4

// out[t, h] = Σ_j softmax_j(scale * q · k_j) v_j over the keys up to the row's own, the last `window` of them. Warp w has
// every fourth key of the sequence from its key w on, in ascending order; then the warps' sums are joined in their order.
// query, out (T, heads * D), caches (blocks, blockSize, kvHeads, D). Grid: (T * heads), blocks of 128.
template <int OWN>
static __device__ __forceinline__ void paged_attention(const PagedAttentionParams& p) {
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
  const long long column = (long long)(h / (p.heads / p.kvHeads)) * p.D;
  const int* table = p.blockTables + (long long)s * p.width;
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
    const long long within = (long long)(j % p.blockSize) * p.kvHeads * p.D + column;
    const float* key = p.keyCache.at + block * p.keyCache.stride + within;
    const float* value = p.valueCache.at + block * p.valueCache.stride + within;
    float product = 0, values[OWN];
#pragma unroll
    for (int i = 0; i < OWN; i++) {
      const int d = lane + 32 * i;
      values[i] = d < p.D ? value[d] : 0.0f;
      product = fmaf(query[i], d < p.D ? key[d] : 0.0f, product);
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

extern "C" __global__ void __launch_bounds__(128) paged_attention_64(const PagedAttentionParams p) { paged_attention<2>(p); }
extern "C" __global__ void __launch_bounds__(128) paged_attention_128(const PagedAttentionParams p) { paged_attention<4>(p); }
extern "C" __global__ void __launch_bounds__(128) paged_attention_512(const PagedAttentionParams p) {
  paged_attention<16>(p);
}
