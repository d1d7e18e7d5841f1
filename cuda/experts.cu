// Mixtures of experts: the choice of experts, and what is left of them besides their products (see linear.cu).
#include "common.cuh"

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
static __device__ __forceinline__ bool precedes(float a, int i, float b, int j) { return a > b || (a == b && i < j); }

// out[t, e] = weight of expert e for row t, 0 for those that it does not visit: see ExpertOps.topKRouting.
// logits, out (T, E), E at most 2048. Grid: a block of 128 a row.
extern "C" __global__ void __launch_bounds__(128) top_k_routing(const TopKRoutingParams p) {
  __shared__ float scores[MOST_EXPERTS];
  __shared__ float choices[MOST_EXPERTS];
  __shared__ float groups[MOST_EXPERTS];
  __shared__ u8 isChosen[MOST_EXPERTS];
  __shared__ float sums[4];
  const long long t = blockIdx.x;
  const int i = threadIdx.x;
  float most = -INFINITY;
  for (int e = 0; e < p.E; e++) most = fmaxf(most, element(p.logits, t, e));
  float sum = 0;
  for (int e = i; e < p.E; e += 128) {
    const float logit = element(p.logits, t, e);
    scores[e] = p.isSigmoid ? 1.0f / (1.0f + expf(-logit)) : expf(logit - most);
    sum += scores[e];
  }
  sum = block_sum(sum, sums);
  for (int e = i; e < p.E; e += 128) {
    if (!p.isSigmoid) scores[e] /= sum;
    choices[e] = scores[e] + (p.hasBias ? vector_at(p.bias, e) : 0.0f);
  }
  __syncthreads();
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
    isChosen[e] = before < p.topKGroups;
  }
  __syncthreads();
  float own = 0;
  for (int e = i; e < p.E; e += 128) {
    int before = 0;
    for (int other = 0; other < p.E; other++) {
      before += isChosen[other] && precedes(choices[other], other, choices[e], e);
    }
    const bool isVisited = isChosen[e] && before < p.topK;
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

struct SumExpertsParams {
  Rows x;
  Rows routing;
  Rows out;
  int T;
  int E;
  int C;
};

// out[t] = Σ_e routing[t, e] * x[t, e] over the experts with a weight, in ascending order. x (T, E * C), out (T, C).
// Grid: an element a thread.
extern "C" __global__ void __launch_bounds__(256) sum_experts(const SumExpertsParams p) {
  long long t;
  int c;
  if (!element_of(p.T, p.C, t, c)) return;
  float sum = 0;
  for (int e = 0; e < p.E; e++) {
    const float weight = element(p.routing, t, e);
    if (weight != 0.0f) sum = fmaf(weight, p.x.at[t * p.x.stride + (long long)e * p.C + c], sum);
  }
  p.out.at[t * p.out.stride + c] = sum;
}
