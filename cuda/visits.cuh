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

// Column c of what comes after the first product of an expert, of K columns: activation(row), or activation(gate) * row with a gate
// before it.
static __device__ __forceinline__ float activated_at(const float* row, int c, int K, int kind, bool isGated) {
  const float own = row[c], other = isGated ? row[K + c] : 1.0f;
  return __fmul_rn(activated(own, kind), other);
}
