// Products of many rows and a matrix of float16 or bfloat16, FORMAT, on the tensor cores of Hopper, in the largest tiles whose sums
// registers hold (those of codes need more): see linear-wide.cu.
#include "wide.cuh"

extern "C" __global__ void __launch_bounds__(512, 1) OF_FORMAT(linear_wide_192x128)(const LinearHalvesParams p) {
  if (p.numParts == 2) linear_wide<3, 128, 229376, 160, 32, 2>(p);
  else linear_wide<3, 128, 229376, 160, 32, 1>(p);
}
// Tiles for rows in one part only.
extern "C" __global__ void __launch_bounds__(384, 1) OF_FORMAT(linear_wide_128x192)(const LinearHalvesParams p) {
  linear_wide<2, 192, 229376, 240, 24, 1>(p);
}
