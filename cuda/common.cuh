// What all kernels share. Every kernel takes one struct of parameters: scripts/build-cuda.mjs reads the structs, and makes
// types of them for the host. Kernels sum in an order that does not depend on the number of rows, with fused
// multiplications where they say so, so that a row's results have the same bits whatever else is in the batch.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// Rows of float32: row t begins at `at + t * stride`. A vector is rows of one element.
struct Rows {
  float* at;
  long long stride;
};

#define ALL_LANES 0xffffffffu

static __device__ __forceinline__ float element(const Rows& x, long long t, int c) { return x.at[t * x.stride + c]; }
static __device__ __forceinline__ float vector_at(const Rows& x, int c) { return x.at[c * x.stride]; }

// The row and column of a thread in a grid of one thread per element; false beyond the last one.
static __device__ __forceinline__ bool element_of(int T, int C, long long& t, int& c) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  const long long count = (long long)T * C;
  if (i >= count) return false;
  // Division of 64 bits takes several times as long.
  t = count <= 0xffffffffll ? (u32)i / (u32)C : i / C;
  c = (int)(i - t * C);
  return true;
}

static __device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) v += __shfl_xor_sync(ALL_LANES, v, offset);
  return v;
}

static __device__ __forceinline__ float warp_max(float v) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) v = fmaxf(v, __shfl_xor_sync(ALL_LANES, v, offset));
  return v;
}

// Sum over a block of up to 1024 threads, for all of them. `sums` holds a float for each warp, and is not used otherwise.
static __device__ __forceinline__ float block_sum_once(float v, float* sums) {
  v = warp_sum(v);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = v;
  __syncthreads();
  float total = 0;
  for (int w = 0; w < (int)(blockDim.x + 31) / 32; w++) total += sums[w];
  return total;
}
// The same where `sums` may have been used before.
static __device__ __forceinline__ float block_sum(float v, float* sums) {
  __syncthreads();
  return block_sum_once(v, sums);
}

static __device__ __forceinline__ float silu(float v) { return __fdividef(v, 1.0f + expf(-v)); }
static __device__ __forceinline__ float softplus(float v) { return v > 20.0f ? v : log1pf(expf(v)); }

static __device__ __forceinline__ float bits_to_float(u32 bits) { return __uint_as_float(bits); }

#ifdef __CUDACC__
// An exponential of numbers down to -20 or so that keeps what 16 bits do, in fewer instructions.
static __device__ __forceinline__ float exp_of_16_bits(float v) { return __expf(v); }
static __device__ __forceinline__ float half_to_float(u32 bits) {
  float v;
  asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"((u16)bits));
  return v;
}
// Two floats as float16, the first in the lower half.
static __device__ __forceinline__ u32 floats_to_halves(float low, float high) {
  u32 v;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low));
  return v;
}
// Two float16 less two others, and times two others.
static __device__ __forceinline__ u32 subtract_halves(u32 a, u32 b) {
  u32 v;
  asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(v) : "r"(a), "r"(b));
  return v;
}
static __device__ __forceinline__ u32 scale_halves(u32 a, u32 b) {
  u32 v;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(v) : "r"(a), "r"(b));
  return v;
}
// Two float16 that may be infinite as the largest ones instead. NaN stays NaN.
static __device__ __forceinline__ u32 finite_halves(u32 halves) {
  u32 v;
  asm("min.NaN.f16x2 %0, %1, %2;" : "=r"(v) : "r"(halves), "r"(0x7bff7bffu));
  asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(v) : "r"(v), "r"(0xfbfffbffu));
  return v;
}
// Copies 16 bytes to shared memory while the thread continues, zeros in their place unless `isInside`. What a thread has
// copied it may read after wait_copies, and other threads after a barrier besides.
static __device__ __forceinline__ void copy_early(uint4* to, const void* from, bool isInside) {
  const u32 at = (u32)__cvta_generic_to_shared(to);
  const int bytes = isInside ? 16 : 0;
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
}
// The same of what other blocks of the multiprocessor read, too: it stays in its cache.
static __device__ __forceinline__ void copy_shared(uint4* to, const void* from, bool isInside) {
  const u32 at = (u32)__cvta_generic_to_shared(to);
  const int bytes = isInside ? 16 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
}
// Copies since the last call become one group.
static __device__ __forceinline__ void group_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until no more than the last LEFT groups are on their way.
template <int LEFT>
static __device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}
// Waits for the kernel before, then lets the one after begin. From compute capability 9.0 on kernels of a graph may begin before
// those before them have ended (src/backends/cuda/launch/overlap.ts): until they have waited they read only what nothing has
// written since the last kernel that began after all before it. All threads of a block that go on call it, and of a grid some.
// Loading a module for such a GPU puts the instructions, which older ones don't know, in place of the comments.
static __device__ __forceinline__ void await_previous() {
  asm volatile("/*griddepcontrol.wait;*/" ::: "memory");
  asm volatile("/*griddepcontrol.launch_dependents;*/" ::: "memory");
}
// Has a line of 128 bytes brought near while the thread continues.
static __device__ __forceinline__ void fetch_early(const void* at) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
}
// A pointer of which the compiler knows that it is to the device's memory.
template <class T>
static __device__ __forceinline__ T* device_pointer(T* at) {
  __builtin_assume(__isGlobal(at));
  return at;
}
// Shared memory whose size the launch says.
#define SHARED_BY_LAUNCH(NAME) extern __shared__ uint4 NAME[]
// Four matrices of 8 rows of 16 bytes in shared memory, of which lane l says where row l % 8 of matrix l / 8 lies: v[i] is what
// lane 4 g + t has of matrix i, columns 2 t and 2 t + 1 of row g.
static __device__ __forceinline__ void load_matrices(u32* v, const uint4* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3]) : "r"((u32)__cvta_generic_to_shared(row)) : "memory");
}
// The same with rows and columns exchanged: rows 2 t and 2 t + 1 of column g.
static __device__ __forceinline__ void load_turned(u32* v, const uint4* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3]) : "r"((u32)__cvta_generic_to_shared(row)) : "memory");
}
// Two floats as bfloat16, the first in the lower half.
static __device__ __forceinline__ u32 floats_to_bfloats(float low, float high) {
  u32 v;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low));
  return v;
}
// sums += a b on the tensor cores of a warp: a (16, 16) and b (16, 8) of float16 or bfloat16, sums (16, 8). Lane 4 g + t has of
// a the rows g and g + 8, in columns 2 t, 2 t + 1 (a[0], a[1]) and 8 further (a[2], a[3]); of b those rows of column g; of the
// sums columns 2 t and 2 t + 1 of rows g (sums[0], sums[1]) and g + 8.
static __device__ __forceinline__ void multiply_halves(float* sums, const u32* a, const u32* b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
static __device__ __forceinline__ void multiply_bfloats(float* sums, const u32* a, const u32* b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

// The sequence of a row: the last one that begins at or before it and is not empty. `starts` has count + 1 entries.
static __device__ __forceinline__ int sequence_of(const int* starts, int count, int t) {
  int low = 0, high = count - 1;
  while (low < high) {
    int middle = (low + high + 1) / 2;
    if (starts[middle] <= t) low = middle;
    else high = middle - 1;
  }
  return low;
}
