// Products of many rows and a matrix of float16 or bfloat16, FORMAT, or of what unpack_codes makes of a format of blocks, CODES, on
// the tensor cores of Hopper: see wide.cuh. It is compiled once for each, for compute capability 9.0 only.
#include "wide.cuh"

// out = x Wᵀ + bias. x of split_rows in blocks of 64 rows, W (N, K) in rows of `rowBytes`, out (T, N). Grid: as many blocks as run
// at a time, or fewer tiles, by 8 slices where they are left apart. Blocks have a warpgroup for each 64 outputs, and one besides.
extern "C" __global__ void __launch_bounds__(256, 2) OF_FORMAT(linear_wide_64x64)(const LinearHalvesParams p) {
  linear_wide<1, 64, 98304, 0, 0, 0>(p);
}
extern "C" __global__ void __launch_bounds__(384, 1) OF_FORMAT(linear_wide_128x128)(const LinearHalvesParams p) {
  linear_wide<2, 128, 229376, 240, 24, 0>(p);
}
