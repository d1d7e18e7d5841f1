// Numbers that blocks of one kernel hand each other: each lies next to a tag in eight bytes, which are read and written whole, so
// that what has the tag that is waited for has the number, too. No barrier and no fence is needed. Blocks that wait for each
// other must all be on the GPU at a time: see layers.cuh.
#pragma once
#include "common.cuh"

#ifdef __CUDACC__
struct __align__(16) TaggedPair {
  u64 first, second;
};

// Rounds of asking after which a kernel gives up: some seconds.
#define MOST_ROUNDS (1 << 23)

static __device__ __forceinline__ void put_tagged(u64* at, float v, u32 tag) {
  const u64 both = (u64)tag << 32 | __float_as_uint(v);
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(at), "l"(both) : "memory");
}
static __device__ __forceinline__ u64 tagged_at(const u64* at) {
  u64 v;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(v) : "l"(at) : "memory");
  return v;
}
// Two neighbours, of which the first lies at a multiple of 16 bytes. Each is whole.
static __device__ __forceinline__ TaggedPair tagged_pair_at(const u64* at) {
  TaggedPair v;
  asm volatile("ld.relaxed.gpu.global.v2.u64 {%0,%1}, [%2];" : "=l"(v.first), "=l"(v.second) : "l"(at) : "memory");
  return v;
}
// Between two rounds of asking.
static __device__ __forceinline__ void ask_again(u32& rounds) {
  if (++rounds > MOST_ROUNDS) asm volatile("trap;");
}
#endif

static __device__ __forceinline__ bool has_tag(u64 v, u32 tag) { return (u32)(v >> 32) == tag; }
static __device__ __forceinline__ float value_of(u64 v) { return bits_to_float((u32)v); }

// The numbers at some places, once all have the tag; a null pointer is no place. What lacks it is asked for together: one after
// the other would take as many times as long.
template <int COUNT>
static __device__ __forceinline__ void await_each(const u64* const* places, u32 tag, float* v) {
  u64 found[COUNT];
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    if (places[i]) found[i] = tagged_at(places[i]);
  }
  for (u32 rounds = 0;;) {
    bool isDone = true;
#pragma unroll
    for (int i = 0; i < COUNT; i++) isDone = isDone && (!places[i] || has_tag(found[i], tag));
    if (isDone) break;
    ask_again(rounds);
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      if (places[i] && !has_tag(found[i], tag)) found[i] = tagged_at(places[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < COUNT; i++) v[i] = value_of(found[i]);
}

// Four neighbours from each of some columns on, once all have the tag; columns below 0 are none.
template <int QUADS>
static __device__ __forceinline__ void await_quads(const u64* from, const int* columns, u32 tag, float (*v)[4]) {
  TaggedPair pairs[2 * QUADS];
#pragma unroll
  for (int q = 0; q < QUADS; q++) {
    if (columns[q] < 0) continue;
    pairs[2 * q] = tagged_pair_at(from + columns[q]), pairs[2 * q + 1] = tagged_pair_at(from + columns[q] + 2);
  }
  for (u32 rounds = 0;;) {
    bool isDone = true;
#pragma unroll
    for (int i = 0; i < 2 * QUADS; i++) {
      if (columns[i / 2] >= 0) isDone = isDone && has_tag(pairs[i].first, tag) && has_tag(pairs[i].second, tag);
    }
    if (isDone) break;
    ask_again(rounds);
#pragma unroll
    for (int i = 0; i < 2 * QUADS; i++) {
      if (columns[i / 2] < 0 || (has_tag(pairs[i].first, tag) && has_tag(pairs[i].second, tag))) continue;
      pairs[i] = tagged_pair_at(from + columns[i / 2] + i % 2 * 2);
    }
  }
#pragma unroll
  for (int q = 0; q < QUADS; q++) {
    v[q][0] = value_of(pairs[2 * q].first), v[q][1] = value_of(pairs[2 * q].second);
    v[q][2] = value_of(pairs[2 * q + 1].first), v[q][3] = value_of(pairs[2 * q + 1].second);
  }
}
