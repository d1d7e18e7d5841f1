// Products of rows and a matrix of one format, FORMAT, on the ordinary units in float32; and rows of a table. It is compiled
// once for each format: a model needs one or two.
#include "weights.cuh"

struct LinearParams {
  Rows x;
  Rows bias;
  Rows out;
  const u8* weight;
  long long rowBytes;
  int T;
  int K;
  int N;
  int hasBias;
  int isAligned;
};

// x[8 * eight] to x[8 * eight + 7], zeros from K on.
static __device__ __forceinline__ void load_inputs(const float* x, int eight, int K, bool isAligned, float* v) {
  if (isAligned && 8 * eight + 8 <= K) {
    const float4 a = *(const float4*)(x + 8 * eight), b = *(const float4*)(x + 8 * eight + 4);
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
  } else {
#pragma unroll
    for (int i = 0; i < 8; i++) v[i] = 8 * eight + i < K ? x[8 * eight + i] : 0.0f;
  }
}

// R rows times O outputs of a warp. Lane l sums the inputs of eights l, l + 32, l + 64 ... in their order; then lanes 16, 8,
// 4, 2 and 1 apart are added: the same for every R and O.
template <int F, int R, int O>
static __device__ __forceinline__ void products(
    const u8* weight, long long rowBytes, int outputs, const float* const* x, bool isAligned, int K, float sums[R][O]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < R; r++) {
#pragma unroll
    for (int o = 0; o < O; o++) sums[r][o] = 0;
  }
  const int eights = (K + 7) / 8;
#pragma unroll 1
  for (int eight = lane; eight < eights; eight += 32) {
    float w[O][8];
#pragma unroll
    for (int o = 0; o < O; o++) load_eight<F>(weight + (o < outputs ? o : 0) * rowBytes, eight, w[o]);
#pragma unroll
    for (int r = 0; r < R; r++) {
      float v[8];
      load_inputs(x[r], eight, K, isAligned, v);
#pragma unroll
      for (int o = 0; o < O; o++) {
#pragma unroll
        for (int i = 0; i < 8; i++) sums[r][o] = fmaf(w[o][i], v[i], sums[r][o]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < R; r++) {
#pragma unroll
    for (int o = 0; o < O; o++) sums[r][o] = warp_sum(sums[r][o]);
  }
}

template <int F, int R, int O>
static __device__ __forceinline__ void linear(const LinearParams& p) {
  const int tiles = (p.N + 4 * O - 1) / (4 * O);
  const int first = (blockIdx.x % tiles * 4 + threadIdx.x / 32) * O;
  const long long firstRow = (long long)(blockIdx.x / tiles) * R;
  if (first >= p.N) return;
  const float* x[R];
#pragma unroll
  for (int r = 0; r < R; r++) x[r] = p.x.at + (firstRow + r < p.T ? firstRow + r : firstRow) * p.x.stride;
  float sums[R][O];
  products<F, R, O>(p.weight + first * p.rowBytes, p.rowBytes, p.N - first, x, p.isAligned, p.K, sums);
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < R; r++) {
#pragma unroll
    for (int o = 0; o < O; o++) {
      if (lane != r * O + o || firstRow + r >= p.T || first + o >= p.N) continue;
      const float bias = p.hasBias ? vector_at(p.bias, first + o) : 0.0f;
      p.out.at[(firstRow + r) * p.out.stride + first + o] = sums[r][o] + bias;
    }
  }
}

// out = x Wᵀ + bias. x (T, K), W (N, K) in rows of `rowBytes`, out (T, N). Grid: tiles of 4 * 2 outputs for each row, or of 4 * 4
// outputs for 8 rows each; blocks of 128.
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(linear_vector)(const LinearParams p) { linear<FORMAT, 1, 2>(p); }
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(linear_rows)(const LinearParams p) { linear<FORMAT, 8, 4>(p); }

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
