// Products of experts whose matrices have a format that is no tensor core's, FORMAT, on the ordinary units, in float32. It is
// compiled once for each.
#include "products.cuh"
#include "visits.cuh"

struct ExpertFloatsParams {
  Rows x;
  const int* visitRows;
  const Tile* tiles;
  const u8* const* weights;
  long long rowBytes;
  float* out;
  int numTiles;
  int K;
  int N;
  int isAligned;
};

// out[v] = x[row of visit v] W[e]ᵀ of the visits of each tile, whose expert is e. Without `visitRows` visits are the rows. out (visits, N),
// weights: a pointer for each expert. Grid: tiles of visits, by 16 outputs; blocks of 128.
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(expert_floats)(const ExpertFloatsParams p) {
  await_previous();
  const Tile tile = p.tiles[blockIdx.x % p.numTiles];
  const int first = (blockIdx.x / p.numTiles * 4 + threadIdx.x / 32) * 4, lane = threadIdx.x % 32;
  if (first >= p.N) return;
  const u8* weight = p.weights[tile.expert] + first * p.rowBytes;
#pragma unroll 1
  for (int begin = 0; begin < tile.count; begin += 8) {
    const float* x[8];
#pragma unroll
    for (int r = 0; r < 8; r++) {
      const int visit = tile.first + (begin + r < tile.count ? begin + r : begin);
      x[r] = p.x.at + (p.visitRows ? p.visitRows[visit] : visit) * p.x.stride;
    }
    float sums[8][4];
    products<FORMAT, 8, 4>(weight, p.rowBytes, p.N - first, x, p.isAligned, p.K, sums);
#pragma unroll
    for (int r = 0; r < 8; r++) {
#pragma unroll
      for (int o = 0; o < 4; o++) {
        if (lane != r * 4 + o || begin + r >= tile.count || first + o >= p.N) continue;
        p.out[(long long)(tile.first + begin + r) * p.N + first + o] = sums[r][o];
      }
    }
  }
}
