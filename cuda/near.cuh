// Rows of weights that a block copies to shared memory, all in pieces of 16 bytes: their formats have numbers at any place, and what a
// thread would read of a row at a time is little.
#pragma once
#include "common.cuh"

// What a row's first byte lies behind that of its first piece.
static __device__ __forceinline__ int near_shift(const u8* row) { return (int)((u64)row & 15); }

// Begins to copy rows `first` to `first` + COUNT - 1 of a matrix of N, each to so many pieces, which are an odd number, against conflicts
// of banks. Rows from N on are the last one. Pieces are read whole.
template <int COUNT>
static __device__ __forceinline__ void copy_near(
    uint4* to, int pieces, const u8* matrix, long long rowBytes, int first, int N) {
  const int THREADS = 256 / COUNT;
  const int r = threadIdx.x / THREADS, n = first + r < N ? first + r : N - 1;
  const u8* row = matrix + n * rowBytes;
  const int shift = near_shift(row), count = (int)((shift + rowBytes + 15) / 16);
  for (int i = threadIdx.x % THREADS; i < count; i += THREADS) copy_early(to + r * pieces + i, row - shift + 16ll * i, true);
}
