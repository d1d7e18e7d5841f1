// Mixtures of experts: the choice of experts, and what is left of them besides their products (see expert-products.cu).
#include "norms.cuh"
#include "visits.cuh"

struct TopKRoutingParams {
  Rows logits;
  Rows bias;
  Rows out;
  int E;
  int topK;
  int numGroups;
  int topKGroups;
  int isSigmoid;
  int isRenormalized;
  int hasBias;
  float scale;
};

#define MOST_EXPERTS 2048

// Whether value i comes before value j where the highest come first, equal ones in their order.
static __device__ __forceinline__ bool precedes(float a, int i, float b, int j) { return a > b | (a == b & i < j); }

// out[t, e] = weight of expert e for row t, 0 for those that it does not visit: see ExpertOps.topKRouting.
// logits, out (T, E), E at most 2048. Grid: a block of 128 a row.
extern "C" __global__ void __launch_bounds__(128) top_k_routing(const TopKRoutingParams p) {
  __shared__ float scores[MOST_EXPERTS];
  __shared__ float choices[MOST_EXPERTS];
  __shared__ float groups[MOST_EXPERTS];
  __shared__ float sums[4];
  const long long t = blockIdx.x;
  const int i = threadIdx.x;
  await_previous();
  float most = -INFINITY;
  for (int e = i; e < p.E; e += 128) most = fmaxf(most, element(p.logits, t, e));
  most = warp_max(most);
  if (i % 32 == 0) sums[i / 32] = most;
  __syncthreads();
  most = fmaxf(fmaxf(sums[0], sums[1]), fmaxf(sums[2], sums[3]));
  float sum = 0;
  for (int e = i; e < p.E; e += 128) {
    const float logit = element(p.logits, t, e);
    scores[e] = p.isSigmoid ? 1.0f / (1.0f + expf(-logit)) : expf(logit - most);
    sum += scores[e];
  }
  sum = block_sum(sum, sums);
  for (int e = i; e < p.E; e += 128) {
    if (!p.isSigmoid) scores[e] /= sum;
    const float choice = scores[e] + (p.hasBias ? vector_at(p.bias, e) : 0.0f);
    // What is no number comes first: a row never visits more experts than it may.
    choices[e] = choice == choice ? choice : INFINITY;
  }
  __syncthreads();
  if (p.topKGroups < p.numGroups) {
    const int size = p.E / p.numGroups;
    for (int g = i; g < p.numGroups; g += 128) {
      float first = -INFINITY, second = -INFINITY;
      for (int e = g * size; e < (g + 1) * size; e++) {
        if (choices[e] > first) second = first, first = choices[e];
        else if (choices[e] > second) second = choices[e];
      }
      groups[g] = size > 1 ? first + second : first;
    }
    __syncthreads();
    for (int e = i; e < p.E; e += 128) {
      const int g = e / size;
      int before = 0;
      for (int other = 0; other < p.numGroups; other++) before += precedes(groups[other], other, groups[g], g);
      // What is not to be chosen comes before nothing.
      if (before >= p.topKGroups) choices[e] = NAN;
    }
    __syncthreads();
  }
  float own = 0;
  for (int e = i; e < p.E; e += 128) {
    const float choice = choices[e];
    int before = 0;
#pragma unroll 8
    for (int other = 0; other < p.E; other++) before += precedes(choices[other], other, choice, e);
    const bool isVisited = choice == choice && before < p.topK;
    groups[e] = isVisited ? 1.0f : 0.0f;
    if (isVisited) own += scores[e];
  }
  // `groups` now says which experts are visited: no thread reads another's group any more.
  const float total = block_sum(own, sums);
  for (int e = i; e < p.E; e += 128) {
    const float weight = p.isRenormalized ? scores[e] / (total + 1e-20f) : scores[e];
    p.out.at[t * p.out.stride + e] = groups[e] > 0 ? weight * p.scale : 0.0f;
  }
}

struct CountVisitsParams {
  Rows routing;
  int* counts;
  int T;
};

// The sum of a number over a block of 256, for all its threads. `sums` holds one for each warp, and may have been used before.
static __device__ __forceinline__ int block_count(int v, int* sums) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) v += __shfl_xor_sync(ALL_LANES, v, offset);
  __syncthreads();
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = v;
  __syncthreads();
  int total = 0;
#pragma unroll
  for (int w = 0; w < 8; w++) total += sums[w];
  return total;
}

// counts[e] = rows that visit expert e. routing (T, E). Grid: a block of 256 for each expert.
extern "C" __global__ void __launch_bounds__(256) count_visits(const CountVisitsParams p) {
  __shared__ int sums[8];
  await_previous();
  int count = 0;
  for (int t = threadIdx.x; t < p.T; t += 256) count += element(p.routing, t, blockIdx.x) != 0.0f;
  count = block_count(count, sums);
  if (threadIdx.x == 0) p.counts[blockIdx.x] = count;
}

struct GroupVisitsParams {
  Rows routing;
  const int* counts;
  int* visitRows;
  int* places;
  Tile* tiles;
  int T;
  int E;
  int tileRows;
  int numTiles;
};

// Visits by expert, those of an expert by row: visitRows (visits) has the row of each, places (T, E) the visit of a row and an
// expert that it visits, and tiles (numTiles) up to `tileRows` visits of one expert each; those that are left over are empty.
// routing (T, E). Without `counts` (E) each block counts all visits. Grid: a block of 256 for each expert.
extern "C" __global__ void __launch_bounds__(256) group_visits(const GroupVisitsParams p) {
  __shared__ u32 counts[MOST_EXPERTS];
  __shared__ int sums[8];
  __shared__ int warps[8];
  await_previous();
  const int e = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (!p.counts) {
    for (int i = threadIdx.x; i < p.E; i += 256) counts[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < p.T * p.E; i += 256) {
      const int t = i / p.E, other = i - t * p.E;
      if (element(p.routing, t, other) != 0.0f) atomicAdd(counts + other, 1u);
    }
    __syncthreads();
  }
  auto count_of = [&](int i) { return p.counts ? p.counts[i] : (int)counts[i]; };
  int visits = 0, tiles = 0;
  for (int i = threadIdx.x; i < e; i += 256) {
    const int count = count_of(i);
    visits += count, tiles += (count + p.tileRows - 1) / p.tileRows;
  }
  const int first = block_count(visits, sums), firstTile = block_count(tiles, sums), count = count_of(e);
  int next = first;
  for (int begin = 0; begin < p.T; begin += 256) {
    const int t = begin + threadIdx.x;
    const bool isVisit = t < p.T && element(p.routing, t, e) != 0.0f;
    const u32 others = __ballot_sync(ALL_LANES, isVisit);
    if (lane == 0) warps[warp] = __popc(others);
    __syncthreads();
    int place = next + __popc(others & ((1u << lane) - 1));
#pragma unroll
    for (int w = 0; w < 8; w++) {
      if (w < warp) place += warps[w];
      next += warps[w];
    }
    if (isVisit) p.visitRows[place] = t, p.places[(long long)t * p.E + e] = place;
    __syncthreads();
  }
  const int ownTiles = (count + p.tileRows - 1) / p.tileRows;
  for (int i = threadIdx.x; i < ownTiles; i += 256) {
    const int left = count - i * p.tileRows;
    p.tiles[firstTile + i] = {e, first + i * p.tileRows, left < p.tileRows ? left : p.tileRows};
  }
  if (e < p.E - 1) return;
  for (int i = firstTile + ownTiles + threadIdx.x; i < p.numTiles; i += 256) p.tiles[i] = {0, 0, 0};
}

struct SplitActivatedParams {
  const float* hidden;
  u32* out;
  float* factors;
  int K;
  int padded;
  int kind;
  int isGated;
  int isFloat16;
  int isSpread;
};

// What comes after the first product of experts, split into two parts for the second one: see split_rows. hidden (visits, K), or
// (visits, 2 K) where its first half is a gate; out (visits, 2 * padded), factors (visits). Grid: a block of 256 a visit, with
// room for its K columns in shared memory.
extern "C" __global__ void __launch_bounds__(256) split_activated(const SplitActivatedParams p) {
  SHARED_BY_LAUNCH(shared);
  __shared__ float mosts[8];
  float* values = (float*)shared;
  await_previous();
  const long long t = blockIdx.x;
  const float* row = p.hidden + t * p.K * (p.isGated ? 2 : 1);
  float most = 0;
#pragma unroll 1
  for (int c = threadIdx.x; c < p.K; c += 256) {
    values[c] = activated_at(row, c, p.K, p.kind, p.isGated);
    most = fmaxf(most, fabsf(values[c]));
  }
  most = block_max_once(most, mosts);
  const float factor = p.isFloat16 ? split_factor(most) : 1.0f;
  const float inverse = 1.0f / factor;
  const Parts parts = {p.out + t * p.padded, -1};
  for (int c = 4 * threadIdx.x; c < (p.isSpread ? p.padded / 2 : p.padded); c += 4 * 256) {
    float v[4];
    load_quad(values, c, p.K, v);
    put_columns(parts, c, v, inverse, p.isFloat16, p.isSpread);
  }
  if (threadIdx.x == 0) p.factors[t] = factor;
}

struct SumVisitsParams {
  const float* x;
  Rows routing;
  Rows out;
  const int* places;
  int E;
  int C;
  int hasAddend;
  int isScaled;
  int hasResidual;
  float scale;
  Rows addend;
  Rows sum;
  Rows scaled;
  Rows residual;
  Rows total;
};

// Puts sums of columns c to c + 3 of row t with those of another tensor: v, which is added to, as well.
static __device__ __forceinline__ void put_with(const Rows& out, const Rows& other, long long t, int c, int C, float* v) {
  float own[4];
  load_quad(other.at + t * other.stride, c, C, own);
#pragma unroll
  for (int j = 0; j < 4; j++) v[j] = __fadd_rn(v[j], own[j]);
  store_quad(out.at + t * out.stride, c, C, v);
}

// out[t] = Σ_e routing[t, e] * x[visit of t and e] over the experts with a weight, in ascending order. x (visits, C), out (T, C);
// without `places` there is one row, whose visits are in the order of experts. Then, each if it is asked for: sum = out + addend,
// scaled = scale times that, and total = that + residual. Grid: (C / 1024, T), blocks of 256.
extern "C" __global__ void __launch_bounds__(256) sum_visits(const SumVisitsParams p) {
  __shared__ int warps[8];
  __shared__ int places[256];
  __shared__ float weights[256];
  await_previous();
  const long long t = blockIdx.y;
  const int c = 1024 * blockIdx.x + 4 * threadIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float sums[4] = {0, 0, 0, 0};
  int seen = 0;
  for (int begin = 0; begin < p.E; begin += 256) {
    const int e = begin + threadIdx.x;
    const float weight = e < p.E ? element(p.routing, t, e) : 0.0f;
    const u32 others = __ballot_sync(ALL_LANES, weight != 0.0f);
    if (lane == 0) warps[warp] = __popc(others);
    __syncthreads();
    int place = __popc(others & ((1u << lane) - 1)), count = 0;
#pragma unroll
    for (int w = 0; w < 8; w++) {
      if (w < warp) place += warps[w];
      count += warps[w];
    }
    if (weight != 0.0f) {
      weights[place] = weight;
      places[place] = p.places ? p.places[t * p.E + e] : seen + place;
    }
    __syncthreads();
#pragma unroll 4
    for (int i = 0; i < count; i++) {
      float v[4];
      load_quad(p.x + (long long)places[i] * p.C, c, p.C, v);
#pragma unroll
      for (int j = 0; j < 4; j++) sums[j] = fmaf(weights[i], v[j], sums[j]);
    }
    seen += count;
    __syncthreads();
  }
  store_quad(p.out.at + t * p.out.stride, c, p.C, sums);
  if (p.hasAddend) put_with(p.sum, p.addend, t, c, p.C, sums);
  if (p.isScaled) {
#pragma unroll
    for (int j = 0; j < 4; j++) sums[j] = __fmul_rn(sums[j], p.scale);
    store_quad(p.scaled.at + t * p.scaled.stride, c, p.C, sums);
  }
  if (p.hasResidual) put_with(p.total, p.residual, t, c, p.C, sums);
}
