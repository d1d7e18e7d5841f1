// CUDA C++ as the host's C++, so that kernels run without a GPU: slowly, one thread after another. Included before each .cu
// file. Threads of a block are fibers: one that waits for others (a barrier, an exchange in a warp) lets the next one run.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(n)

struct dim3_ {
  unsigned x, y, z;
};
extern dim3_ blockIdx, blockDim, gridDim;
extern "C" dim3_* emulated_thread();
#define threadIdx (*emulated_thread())

struct float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

extern "C" void emulated_barrier();
extern "C" void emulated_warp_barrier();
extern "C" uint32_t emulated_exchange(uint32_t value, int lane);
static inline void __syncthreads() { emulated_barrier(); }
static inline void __syncwarp() { emulated_warp_barrier(); }

template <class T>
static inline T __shfl_xor_sync(unsigned, T value, int offset) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  bits = emulated_exchange(bits, (threadIdx.x % 32) ^ offset);
  std::memcpy(&value, &bits, 4);
  return value;
}

template <class T>
static inline T __shfl_sync(unsigned, T value, int lane) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  bits = emulated_exchange(bits, lane);
  std::memcpy(&value, &bits, 4);
  return value;
}

static inline float __uint_as_float(uint32_t bits) {
  float v;
  std::memcpy(&v, &bits, 4);
  return v;
}
static inline float __int_as_float(int32_t bits) { return __uint_as_float((uint32_t)bits); }
static inline uint32_t __float_as_uint(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  return bits;
}
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline unsigned atomicAdd(unsigned* at, unsigned value) {
  unsigned before = *at;
  *at += value;
  return before;
}

typedef _Float16 emulated_half;
static inline float half_to_float(uint32_t bits) {
  uint16_t narrow = (uint16_t)bits;
  emulated_half v;
  std::memcpy(&v, &narrow, 2);
  return (float)v;
}
static inline uint32_t floats_to_halves(float low, float high) {
  emulated_half pair[2] = {(emulated_half)low, (emulated_half)high};
  uint32_t bits;
  std::memcpy(&bits, pair, 4);
  return bits;
}
