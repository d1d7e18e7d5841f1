// Rows of a table, and products of experts, of weights of one format, FORMAT. It is compiled once for each format: a model
// needs one or two.
#include "products.cuh"

struct EmbeddingParams {
  const int* ids;
  const u8* table;
  long long rowBytes;
  Rows out;
  int T;
  int K;
  int firstRow;
  int tableRows;
};

// out[t] = table[ids[t] - firstRow], zeros for ids that the table has not. out (T, K). Grid: a thread for eight columns of a row.
extern "C" __global__ void __launch_bounds__(256) OF_FORMAT(embedding)(const EmbeddingParams p) {
  await_previous();
  long long t;
  int eight;
  if (!element_of(p.T, (p.K + 7) / 8, t, eight)) return;
  const long long row = (long long)p.ids[t] - p.firstRow;
  float w[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  if (row >= 0 && row < p.tableRows) load_eight<FORMAT>(p.table + row * p.rowBytes, eight, w);
  float* out = p.out.at + t * p.out.stride + 8 * eight;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    if (8 * eight + i < p.K) out[i] = w[i];
  }
}

struct ExpertProductParams {
  Rows x;
  Rows routing;
  Rows out;
  const u8* const* weights;
  long long rowBytes;
  long long visitStride;
  int T;
  int E;
  int K;
  int N;
  int isAligned;
};

// For each expert e and row t that visits it (routing[t, e] is not 0): out[t, e] = x[t, e] W[e]ᵀ, where x[t, e] begins
// e * visitStride after x[t]. out (T, E * N), weights: E pointers. Grid: (N / 16, E), blocks of 128.
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(expert_product)(const ExpertProductParams p) {
  const int first = (blockIdx.x * 4 + threadIdx.x / 32) * 4;
  const int e = blockIdx.y;
  if (first >= p.N) return;
  const int lane = threadIdx.x % 32;
  const u8* weight = p.weights[e] + first * p.rowBytes;
  const long long column = e * p.visitStride;
  for (int t = 0; t < p.T;) {
    // The next rows that visit the expert.
    int rows[8], count = 0;
#pragma unroll
    for (int r = 0; r < 8; r++) {
      while (t < p.T && element(p.routing, t, e) == 0.0f) t++;
      rows[r] = t;
      if (t < p.T) count++, t++;
    }
    if (count == 0) return;
    const float* x[8];
#pragma unroll
    for (int r = 0; r < 8; r++) x[r] = p.x.at + (long long)(rows[r] < p.T ? rows[r] : rows[0]) * p.x.stride + column;
    float sums[8][4];
    products<FORMAT, 8, 4>(weight, p.rowBytes, p.N - first, x, p.isAligned, p.K, sums);
#pragma unroll
    for (int r = 0; r < 8; r++) {
#pragma unroll
      for (int o = 0; o < 4; o++) {
        if (lane != r * 4 + o || r >= count || first + o >= p.N) continue;
        p.out.at[(long long)rows[r] * p.out.stride + (long long)e * p.N + first + o] = sums[r][o];
      }
    }
  }
}
