// Rotary positions.
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
