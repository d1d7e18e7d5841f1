// What Hopper's multiprocessors have for large products: multiplications of four warps, a warpgroup, whose operands lie in shared
// memory, and copies of whole pieces by the copy engine, which a barrier in shared memory counts. Compute capability 9.0 only.
#pragma once
#include "quads.cuh"

// Shared memory of a launch from a multiple of 1,024 bytes on, which tiles begin at.
static __device__ __forceinline__ uint4* at_multiple_of_1024(uint4* memory) { return memory + (64 - (u64)memory / 16 % 64) % 64; }

#ifdef __CUDACC__
static __device__ __forceinline__ u32 shared_address(const void* at) { return (u32)__cvta_generic_to_shared(at); }

// A barrier in shared memory that threads arrive at, and copies with their bytes.
struct CopyBarrier {
  u64 state;
};
static __device__ __forceinline__ void make_barrier(CopyBarrier* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
// After it, the copy engine sees the barriers.
static __device__ __forceinline__ void show_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
// Has the warp arrive, once.
static __device__ __forceinline__ void arrive(CopyBarrier* barrier) {
  if (threadIdx.x % 32 > 0) return;
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
// Has the thread arrive, with so many bytes that copies will bring.
static __device__ __forceinline__ void arrive_expecting(CopyBarrier* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
}
// Has the thread arrive when all that it copies early has come.
static __device__ __forceinline__ void arrive_after_copies(CopyBarrier* barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(barrier)) : "memory");
}
// Waits until all have arrived, `turn` times before and once more. Turn -1 is over from the beginning.
static __device__ __forceinline__ void wait_for_all(CopyBarrier* barrier, int turn) {
  asm volatile(
      "{\n.reg .pred done;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@done bra ready;\nbra again;\nready:\n}"
      ::"r"(shared_address(barrier)), "r"(turn & 1) : "memory");
}
// Has the warps of a warpgroup have COUNT registers a thread, more or fewer than before.
template <int COUNT>
static __device__ __forceinline__ void take_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT)); }
template <int COUNT>
static __device__ __forceinline__ void leave_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT)); }
// Copies a piece of a multiple of 16 bytes.
static __device__ __forceinline__ void copy_piece(uint4* to, const void* from, int bytes, CopyBarrier* barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(to)),
               "l"(from), "r"(bytes), "r"(shared_address(barrier))
               : "memory");
}
// Copies a float to shared memory while the thread continues, zero in its place unless `isInside`: see copy_early.
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

// Where an operand's 16 inputs begin: `i` counts 16 bytes of its rows, and the tile begins at a multiple of 1,024 bytes.
static __device__ __forceinline__ u64 operand_of_128(const uint4* tile, int i) {
  return (u64)((shared_address(tile) + 16 * i) >> 4) | (1024ull >> 4 << 32) | (1ull << 62);
}
#define SUMS_8(i) "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3]), "+f"(sums[i + 4]), \
                  "+f"(sums[i + 5]), "+f"(sums[i + 6]), "+f"(sums[i + 7])
#define SUMS_32(i) SUMS_8(i), SUMS_8(i + 8), SUMS_8(i + 16), SUMS_8(i + 24)
#define NAMES_16 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define NAMES_32 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
                 "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define NAMES_64 NAMES_32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
                 "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define NAMES_96 NAMES_64 ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79," \
                          "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
#define MULTIPLY(TYPE, N, NAMES, A, B, ADDING, ...) \
  asm volatile("{\n.reg .pred adds;\nsetp.ne.b32 adds, " ADDING ", 0;\n" \
               "wgmma.mma_async.sync.aligned.m64n" N "k16.f32." TYPE "." TYPE " {" NAMES "}, {" A "}, " B ", adds, 1, 1, 0;\n}" \
               : __VA_ARGS__ : "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3]), "l"(right), "r"((int)adds))
#define MULTIPLY_32(TYPE) MULTIPLY(TYPE, "32", NAMES_16, "%16,%17,%18,%19", "%20", "%21", SUMS_8(0), SUMS_8(8))
#define MULTIPLY_64(TYPE) MULTIPLY(TYPE, "64", NAMES_32, "%32,%33,%34,%35", "%36", "%37", SUMS_32(0))
#define MULTIPLY_128(TYPE) MULTIPLY(TYPE, "128", NAMES_64, "%64,%65,%66,%67", "%68", "%69", SUMS_32(0), SUMS_32(32))

#define MULTIPLY_192(TYPE) \
  MULTIPLY(TYPE, "192", NAMES_96, "%96,%97,%98,%99", "%100", "%101", SUMS_32(0), SUMS_32(32), SUMS_32(64))

// What a lane has of 32 inputs of a warp's 16 outputs: eight neighbours of two of them, as add_inputs takes them.
struct Operand {
  uint4 low, high;
};
// Those of step `step` of a tile of 64 outputs, whose rows of 128 bytes are two steps.
static __device__ __forceinline__ Operand load_operand(const uint4* tile, int step) {
  const int output = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4, piece = 4 * step + threadIdx.x % 4;
  return {tile[place_of_four(output, piece)], tile[place_of_four(output + 8, piece)]};
}

// sums += a bᵀ, or unless `adds` sums = a bᵀ, of 16 of 32 inputs: the first or second half of each eight. b has ROWS rows of 128
// bytes, of which 16-byte pieces `at` and at + 1 have those inputs. Lane 4 g + t of warp w of the warpgroup has outputs 16 w + g
// (sums[4 j], sums[4 j + 1]) and 8 further, of rows 8 j + 2 t and 8 j + 2 t + 1, as multiply_halves.
template <int ROWS, bool IS_BFLOAT>
static __device__ __forceinline__ void multiply_tiles(
    float (&sums)[ROWS / 2], const Operand& a, int half, const uint4* b, int at, bool adds) {
  const u32 words[4] = {half ? a.low.z : a.low.x, half ? a.high.z : a.high.x, half ? a.low.w : a.low.y,
                        half ? a.high.w : a.high.y};
  const u64 right = operand_of_128(b, at);
  static_assert(ROWS == 32 || ROWS == 64 || ROWS == 128 || ROWS == 192);
  if constexpr (ROWS == 32) {
    if constexpr (IS_BFLOAT) MULTIPLY_32("bf16");
    else MULTIPLY_32("f16");
  } else if constexpr (ROWS == 64) {
    if constexpr (IS_BFLOAT) MULTIPLY_64("bf16");
    else MULTIPLY_64("f16");
  } else if constexpr (ROWS == 128) {
    if constexpr (IS_BFLOAT) MULTIPLY_128("bf16");
    else MULTIPLY_128("f16");
  } else {
    if constexpr (IS_BFLOAT) MULTIPLY_192("bf16");
    else MULTIPLY_192("f16");
  }
}
#endif
