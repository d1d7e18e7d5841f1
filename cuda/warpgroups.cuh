// What Hopper's multiprocessors have for large products: multiplications of four warps, a warpgroup, whose operands lie in shared
// memory, and copies of whole pieces by the copy engine, which a barrier in shared memory counts. Compute capability 9.0 only.
#pragma once
#include "quads.cuh"

// Shared memory of a launch from a multiple of 1,024 bytes on, which tiles begin at.
static __device__ __forceinline__ uint4* at_multiple_of_1024(uint4* memory) { return (uint4*)(((u64)memory + 1023) & ~1023ull); }

#ifdef __CUDACC__
static __device__ __forceinline__ u32 shared_address(const void* at) { return (u32)__cvta_generic_to_shared(at); }

// A barrier that copies arrive at with their bytes. `phase` is how often it has been completed before.
struct CopyBarrier {
  u64 state;
};
static __device__ __forceinline__ void make_barrier(CopyBarrier* barrier) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(barrier)) : "memory");
}
// After it, the copy engine sees the barriers.
static __device__ __forceinline__ void show_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
static __device__ __forceinline__ void expect_bytes(CopyBarrier* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
}
static __device__ __forceinline__ void wait_bytes(CopyBarrier* barrier, int phase) {
  asm volatile(
      "{\n.reg .pred done;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@done bra ready;\nbra again;\nready:\n}"
      ::"r"(shared_address(barrier)), "r"(phase & 1) : "memory");
}
// Copies a piece of a multiple of 16 bytes.
static __device__ __forceinline__ void copy_piece(uint4* to, const void* from, int bytes, CopyBarrier* barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(to)),
               "l"(from), "r"(bytes), "r"(shared_address(barrier))
               : "memory");
}
// Copies 8 bytes to shared memory while the thread continues, zeros in their place unless `isInside`: see copy_early.
static __device__ __forceinline__ void copy_half(uint2* to, const void* from, bool isInside) {
  const int bytes = isInside ? 8 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes) : "memory");
}
// The same with 4 bytes.
static __device__ __forceinline__ void copy_float(float* to, const float* from, bool isInside) {
  const int bytes = isInside ? 4 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes) : "memory");
}
// Before the first of some multiplications, whose sums threads may have changed; after the last; and until no more than the last
// LEFT groups of them go on.
static __device__ __forceinline__ void begin_multiplications() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
static __device__ __forceinline__ void group_multiplications() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int LEFT>
static __device__ __forceinline__ void wait_multiplications() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

// Where 16 inputs of a tile begin: `i` counts 16 bytes of its rows, and the tile begins at a multiple of 1,024 bytes.
static __device__ __forceinline__ u64 operand_of_128(const uint4* tile, int i) {
  return (u64)((shared_address(tile) + 16 * i) >> 4) | (1024ull >> 4 << 32) | (1ull << 62);
}

#define SUMS_8(i) "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3]), "+f"(sums[i + 4]), \
                  "+f"(sums[i + 5]), "+f"(sums[i + 6]), "+f"(sums[i + 7])
#define SUMS_32(i) SUMS_8(i), SUMS_8(i + 8), SUMS_8(i + 16), SUMS_8(i + 24)
#define NAMES_32 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
                 "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define NAMES_64 NAMES_32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
                 "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define MULTIPLY(TYPE, N, NAMES, A, B, ADDING, ...) \
  asm volatile("{\n.reg .pred adds;\nsetp.eq.u32 adds, " ADDING ", 1;\n" \
               "wgmma.mma_async.sync.aligned.m64n" N "k16.f32." TYPE "." TYPE " {" NAMES "}, {" A "}, " B ", adds, 1, 1, 0;\n}" \
               : __VA_ARGS__ : "r"(a.words[0]), "r"(a.words[1]), "r"(a.words[2]), "r"(a.words[3]), "l"(right), "n"(ADDS))
#define MULTIPLY_64(TYPE) MULTIPLY(TYPE, "64", NAMES_32, "%32,%33,%34,%35", "%36", "%37", SUMS_32(0))
#define MULTIPLY_128(TYPE) MULTIPLY(TYPE, "128", NAMES_64, "%64,%65,%66,%67", "%68", "%69", SUMS_32(0), SUMS_32(32))

// A warp's 16 of the warpgroup's 64 outputs, of 16 inputs.
struct Operand {
  u32 words[4];
};
// Those in a tile of rows of 64 bytes, from 16-byte piece `at` on.
static __device__ __forceinline__ Operand load_operand(const uint4* tile, int at) {
  const int lane = threadIdx.x % 32, output = threadIdx.x % 128 / 32 * 16 + lane % 16;
  Operand a;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(a.words[0]), "=r"(a.words[1]), "=r"(a.words[2]), "=r"(a.words[3])
               : "r"(shared_address(tile + place_of_64(output, at + lane / 16))) : "memory");
  return a;
}

// sums += a bᵀ, or with ADDS false sums = a bᵀ, of 16 inputs: those of b's ROWS rows of 128 bytes from 16-byte piece `from` on. Lane
// 4 g + t of warp w of the warpgroup has outputs 16 w + g (sums[4 j], sums[4 j + 1]) and 8 further, of rows 8 j + 2 t and
// 8 j + 2 t + 1, as multiply_halves.
template <int ROWS, bool IS_BFLOAT, bool ADDS>
static __device__ __forceinline__ void multiply_tiles(
    float (&sums)[ROWS / 2], const Operand& a, const uint4* b, int from) {
  const u64 right = operand_of_128(b, from);
  if constexpr (ROWS == 64) {
    if constexpr (IS_BFLOAT) MULTIPLY_64("bf16");
    else MULTIPLY_64("f16");
  } else {
    if constexpr (IS_BFLOAT) MULTIPLY_128("bf16");
    else MULTIPLY_128("f16");
  }
}
#endif
