// Operations on single elements and whole rows.
#include "activations.cuh"
#include "quads.cuh"

enum { ADD, SCALE, COLUMNS, SILU_GATE, COPY, CLEAR, ACTIVATE = 8, ACTIVATE_AND_MUL = 16 };
struct ElementwiseParams {
  Rows x;
  Rows y;
  Rows out;
  int T;
  int C;
  int kind;
  float factor;
};

// out = x + y, x * factor, x times the vector y, x * silu(y), x, 0, activation(x) or activation(x) * y, by `kind`.
// x, y, out (T, C). Grid: an element a thread, blocks of 256.
extern "C" __global__ void __launch_bounds__(256) elementwise(const ElementwiseParams p) {
  await_previous();
  long long t;
  int c;
  if (!element_of(p.T, p.C, t, c)) return;
  float v = p.kind == CLEAR ? 0.0f : element(p.x, t, c);
  if (p.kind == ADD) v += element(p.y, t, c);
  else if (p.kind == SCALE) v *= p.factor;
  else if (p.kind == COLUMNS) v *= vector_at(p.y, c);
  else if (p.kind == SILU_GATE) v *= silu(element(p.y, t, c));
  else if (p.kind >= ACTIVATE_AND_MUL) v = activated(v, p.kind - ACTIVATE_AND_MUL) * element(p.y, t, c);
  else if (p.kind >= ACTIVATE) v = activated(v, p.kind - ACTIVATE);
  p.out.at[t * p.out.stride + c] = v;
}

struct GatherRowsParams {
  Rows x;
  Rows out;
  const int* rows;
  int T;
  int C;
};

// out[t] = x[rows[t]]. rows (T), out (T, C). Grid: an element a thread, blocks of 256.
extern "C" __global__ void __launch_bounds__(256) gather_rows(const GatherRowsParams p) {
  long long t;
  int c;
  if (!element_of(p.T, p.C, t, c)) return;
  p.out.at[t * p.out.stride + c] = element(p.x, p.rows[t], c);
}

// out[rows[t]] = x[t]. rows (T), x (T, C). Grid: an element a thread, blocks of 256.
extern "C" __global__ void __launch_bounds__(256) scatter_rows(const GatherRowsParams p) {
  long long t;
  int c;
  if (!element_of(p.T, p.C, t, c)) return;
  p.out.at[p.rows[t] * p.out.stride + c] = element(p.x, t, c);
}

struct PackRowsParams {
  const float* x;
  unsigned char* out;
  long long rowBytes;
  int T;
  int K;
  int kind;
};

enum { AS_FLOAT32, AS_FLOAT16, AS_BFLOAT16 };

// out = x, rounded to nearest even, in rows of `rowBytes`. x (T, K) without gaps. Grid: an element a thread.
extern "C" __global__ void __launch_bounds__(256) pack_rows(const PackRowsParams p) {
  long long t;
  int c;
  if (!element_of(p.T, p.K, t, c)) return;
  const float v = p.x[t * p.K + c];
  unsigned char* row = p.out + t * p.rowBytes;
  if (p.kind == AS_FLOAT32) ((float*)row)[c] = v;
  else if (p.kind == AS_FLOAT16) ((u16*)row)[c] = (u16)floats_to_halves(v, 0.0f);
  else {
    const u32 bits = __float_as_uint(v);
    const bool isNaN = (bits & 0x7fffffffu) > 0x7f800000u;
    ((u16*)row)[c] = isNaN ? 0x7fc0 : (u16)((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
  }
}

struct SplitRowsParams {
  Rows x;
  u32* out;
  float* factors;
  int K;
  int padded;
  int kind;
  int numParts;
  int isInBlocks;
  int isSpread;
};

// Rows as sums of two float16 or two bfloat16 each, for the tensor cores: x is out[0] + out[1], times factors, to 22 or 16 bits.
// see quads.cuh. With `numParts` 1, out[1] is left out of rows in blocks. x (T, K), out (T, 2 * padded) with zeros from K on,
// factors (T); spread, 16 columns take 32 places (put_columns). Grid: a block of 128 a row.
extern "C" __global__ void __launch_bounds__(128) split_rows(const SplitRowsParams p) {
  __shared__ float mosts[4];
  await_previous();
  const long long t = blockIdx.x;
  const float* x = p.x.at + t * p.x.stride;
  float factor = 1;
  if (p.kind == AS_FLOAT16) {
    float most = 0;
    for (int c = 4 * threadIdx.x; c < p.K; c += 4 * 128) {
      float v[4];
      load_quad(x, c, p.K, v);
#pragma unroll
      for (int i = 0; i < 4; i++) most = fmaxf(most, fabsf(v[i]));
    }
    most = warp_max(most);
    if (threadIdx.x % 32 == 0) mosts[threadIdx.x / 32] = most;
    __syncthreads();
    most = fmaxf(fmaxf(mosts[0], mosts[1]), fmaxf(mosts[2], mosts[3]));
    factor = split_factor(most);
  }
  const float inverse = 1.0f / factor;
  const Parts out = parts_of(p.out, t, p.padded, p.isInBlocks);
  for (int c = 4 * threadIdx.x; p.isSpread && c < p.padded / 2; c += 4 * 128) {
    float v[4];
    load_quad(x, c, p.K, v);
    put_columns(out, c, v, inverse, p.kind == AS_FLOAT16, true);
  }
  for (int c = 4 * threadIdx.x; !p.isSpread && first_of_warp(c) < p.padded; c += 4 * 128) {
    float v[4];
    load_quad(x, c, p.K, v);
    put_warp_parts(out, c, p.padded, v, inverse, p.kind == AS_FLOAT16, p.numParts);
  }
  if (threadIdx.x == 0) p.factors[t] = factor;
}

struct SumPartsParams {
  const u16* x;
  float* out;
  int T;
  int padded;
  int isInBlocks;
};

// out = sums of 32 neighbours of rows that split_rows made of float16. x (T, 2 * padded), out (T, padded / 32). Grid: a sum a thread.
extern "C" __global__ void __launch_bounds__(256) sum_parts(const SumPartsParams p) {
  await_previous();
  long long t;
  int step;
  if (!element_of(p.T, p.padded / 32, t, step)) return;
  p.out[t * (p.padded / 32) + step] = sum_of_parts(parts_of((u32*)p.x, t, p.padded, p.isInBlocks), 32 * step);
}
