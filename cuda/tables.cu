// Rows of a table of weights of one format, FORMAT. It is compiled once for each format: a model needs one or two.
#include "weights.cuh"

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
