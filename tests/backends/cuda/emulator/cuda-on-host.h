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
#define __launch_bounds__(...)

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
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

extern "C" void* emulated_shared();
extern "C" void emulated_yield();
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

static inline uint32_t __ballot_sync(unsigned mask, bool value) {
  uint32_t bits = (uint32_t)value << (threadIdx.x % 32);
  for (int offset = 16; offset > 0; offset >>= 1) bits |= __shfl_xor_sync(mask, bits, offset);
  return bits;
}
static inline int __popc(uint32_t bits) { return __builtin_popcount(bits); }
static inline int __ffs(uint32_t bits) { return __builtin_ffs((int)bits); }

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

static inline float __fdividef(float a, float b) { return a / b; }
static inline float __fadd_rn(float a, float b) { return a + b; }

// Copies are done when they are asked for.
static inline void copy_early(uint4* to, const void* from, bool isInside) {
  *to = isInside ? *(const uint4*)from : uint4{0, 0, 0, 0};
}
static inline void copy_shared(uint4* to, const void* from, bool isInside) { copy_early(to, from, isInside); }
static inline void group_copies() {}
template <int LEFT>
static inline void wait_copies() {}
// Kernels run one after another.
static inline void await_previous() {}
static inline void fetch_early(const void*) {}
#define SHARED_BY_LAUNCH(NAME) uint4* const NAME = (uint4*)emulated_shared()

typedef _Float16 emulated_half;
static inline float exp_of_16_bits(float v) { return std::exp(v); }
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

template <class Operation>
static inline uint32_t emulated_pairs(uint32_t a, uint32_t b, Operation operation) {
  emulated_half left[2], right[2], out[2];
  std::memcpy(left, &a, 4);
  std::memcpy(right, &b, 4);
  for (int i = 0; i < 2; i++) out[i] = operation(left[i], right[i]);
  uint32_t bits;
  std::memcpy(&bits, out, 4);
  return bits;
}
static inline uint32_t finite_halves(uint32_t halves) {
  return emulated_pairs(halves, halves, [](emulated_half x, emulated_half) {
    const emulated_half most = (emulated_half)65504.0f;
    return x > most ? most : x < -most ? -most : x;
  });
}
static inline uint32_t subtract_halves(uint32_t a, uint32_t b) {
  return emulated_pairs(a, b, [](emulated_half x, emulated_half y) { return (emulated_half)(x - y); });
}
static inline uint32_t scale_halves(uint32_t a, uint32_t b) {
  return emulated_pairs(a, b, [](emulated_half x, emulated_half y) { return (emulated_half)(x * y); });
}
static inline uint32_t __byte_perm(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t bytes = ((uint64_t)b << 32) | a;
  uint32_t out = 0;
  for (int i = 0; i < 4; i++) out |= (uint32_t)((bytes >> (8 * ((selector >> (4 * i)) & 7))) & 255) << (8 * i);
  return out;
}

// Each lane shows its parts of a and b, and sums what it has of the product: see common.cuh.
extern "C" const uint32_t* emulated_show(const uint32_t* words, int count);
template <class Value>
static inline void emulated_multiply(float* sums, const uint32_t* a, const uint32_t* b, Value value) {
  const uint32_t own[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  const uint32_t* shown = emulated_show(own, 6);
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  for (int i = 0; i < 4; i++) {
    const int row = i / 2, column = 2 * t + i % 2;
    float sum = 0;
    for (int k = 0; k < 16; k++) {
      const uint32_t left = shown[8 * (4 * g + k % 8 / 2) + row + 2 * (k / 8)];
      const uint32_t right = shown[8 * (4 * column + k % 8 / 2) + 4 + k / 8];
      sum += value((left >> (16 * (k % 2))) & 0xffff) * value((right >> (16 * (k % 2))) & 0xffff);
    }
    sums[i] += sum;
  }
}
static inline void multiply_halves(float* sums, const uint32_t* a, const uint32_t* b) {
  emulated_multiply(sums, a, b, half_to_float);
}
static inline void multiply_bfloats(float* sums, const uint32_t* a, const uint32_t* b) {
  emulated_multiply(sums, a, b, [](uint32_t bits) { return __uint_as_float(bits << 16); });
}
static inline uint32_t floats_to_bfloats(float low, float high) {
  auto rounded = [](float v) {
    const uint32_t bits = __float_as_uint(v);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fffu;
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  };
  return rounded(low) | (rounded(high) << 16);
}

// Of each lane the address of a row, of which it then reads what the others show: see common.cuh.
static inline void emulated_load(uint32_t* v, const uint4* row, bool isTurned) {
  uint32_t own[2];
  std::memcpy(own, &row, 8);
  const uint32_t* shown = emulated_show(own, 2);
  const int lane = threadIdx.x % 32;
  auto value = [&](int matrix, int r, int column) {
    const uint16_t* at;
    std::memcpy(&at, shown + 8 * (8 * matrix + r), 8);
    return (uint32_t)at[column];
  };
  const int g = lane / 4, t = lane % 4;
  for (int i = 0; i < 4; i++) {
    const uint32_t low = isTurned ? value(i, 2 * t, g) : value(i, g, 2 * t);
    v[i] = low | (isTurned ? value(i, 2 * t + 1, g) : value(i, g, 2 * t + 1)) << 16;
  }
}
static inline void load_matrices(uint32_t* v, const uint4* row) { emulated_load(v, row, false); }
static inline void load_turned(uint32_t* v, const uint4* row) { emulated_load(v, row, true); }

// What warpgroups.cuh has for Hopper. Copies are done when they are asked for, and multiplications, too, but a warp waits for all
// its lanes' ones. A barrier counts the times that all have arrived, threads and the bytes that they expected.
struct CopyBarrier {
  int arrivals, left, bytes;
  unsigned turns;

  void end_turn() {
    if (left == 0 && bytes == 0) left = arrivals, turns++;
  }
};
static inline void make_barrier(CopyBarrier* barrier, int arrivals) { *barrier = {arrivals, arrivals, 0, 0}; }
static inline void show_barriers() {}
static inline void arrive_expecting(CopyBarrier* barrier, int bytes) {
  barrier->left--, barrier->bytes += bytes;
  barrier->end_turn();
}
static inline void arrive_after_copies(CopyBarrier* barrier) { arrive_expecting(barrier, 0); }
static inline void arrive(CopyBarrier* barrier) {
  if (threadIdx.x % 32 == 0) arrive_expecting(barrier, 0);
}
static inline void wait_for_all(CopyBarrier* barrier, int turn) {
  while (((barrier->turns ^ turn) & 1) == 0) emulated_yield();
}
template <int COUNT>
static inline void take_registers() {}
template <int COUNT>
static inline void leave_registers() {}
static inline void copy_piece(uint4* to, const void* from, int bytes, CopyBarrier* barrier) {
  std::memcpy(to, from, bytes);
  barrier->bytes -= bytes;
  barrier->end_turn();
}
static inline void copy_float(float* to, const float* from, bool isInside) { *to = isInside ? *from : 0; }
static inline void begin_multiplications() {}
static inline void group_multiplications() {}
template <int LEFT>
static inline void wait_multiplications() { emulated_warp_barrier(); }

struct Operand {
  const uint4* tile;
  int step;
};
static inline Operand load_operand(const uint4* tile, int step) { return {tile, step}; }

// Sums inputs in the order in which multiply_halves has them.
template <int ROWS, bool IS_BFLOAT>
static inline void multiply_tiles(float (&sums)[ROWS / 2], const Operand& a, int half, const uint4* b, int at, bool adds) {
  auto value = [](const uint4* piece, int k) {
    const uint16_t bits = ((const uint16_t*)piece)[k];
    return IS_BFLOAT ? __uint_as_float((uint32_t)bits << 16) : half_to_float(bits);
  };
  const int warp = threadIdx.x % 128 / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  for (int i = 0; i < ROWS / 2; i++) {
    const int output = 16 * warp + g + i % 4 / 2 * 8, row = i / 4 * 8 + 2 * t + i % 2;
    float sum = 0;
    for (int k = 0; k < 16; k++) {
      const uint4* left = a.tile + 8 * output + ((4 * a.step + k % 8 / 2) ^ output % 2 * 4);
      const uint4* right = b + 8 * row + ((at + k / 8) ^ row % 8);
      sum += value(left, 4 * half + k / 8 * 2 + k % 2) * value(right, k % 8);
    }
    sums[i] = adds ? sums[i] + sum : sum;
  }
}

template <class T>
static inline T* device_pointer(T* at) {
  return at;
}

// What exchange.cuh has: other blocks run when one asks again.
struct alignas(16) TaggedPair {
  unsigned long long first, second;
};
static inline void put_tagged(unsigned long long* at, float v, uint32_t tag) {
  *at = (unsigned long long)tag << 32 | __float_as_uint(v);
}
static inline unsigned long long tagged_at(const unsigned long long* at) { return *(const volatile unsigned long long*)at; }
static inline TaggedPair tagged_pair_at(const unsigned long long* at) { return {tagged_at(at), tagged_at(at + 1)}; }
static inline void ask_again(uint32_t&) { emulated_yield(); }
