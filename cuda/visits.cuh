// What kernels of mixtures of experts share. A visit is a row and an expert that it has a weight for.
#pragma once
#include "activations.cuh"
#include "quads.cuh"

// Some visits of one expert, which follow each other where they are sorted by expert. A tile that is left over has none.
struct Tile {
  int expert;
  int first;
  int count;
};

// Columns c to c + 3 of what comes after the first product of an expert, of K columns: activation(row), or activation(gate) * row with
// a gate before it; zeros from K on.
static __device__ __forceinline__ void load_activated(const float* row, int c, int K, int kind, bool isGated, float* v) {
  load_quad(row, c, K, v);
  float other[4];
  if (isGated) load_quad(row + K, c, K, other);
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (c + i >= K) continue;
    v[i] = activated(v[i], kind);
    if (isGated) v[i] = __fmul_rn(v[i], other[i]);
  }
}
