// All layers of a Mamba-2 model for rows of up to 4,096 columns, of up to 8,192 with the gate, and of 64 channels a block: see
// layers.cuh. It is compiled once for each format.
#include "layers.cuh"

// x, out (hidden), outputs (numOutputs), states (slots, H, P, 128), of whatever stride. Grid: at most as many blocks of 256 as the
// GPU holds at a time.
extern "C" __global__ void __launch_bounds__(256, 1) OF_FORMAT(mamba_layers_8)(const MambaLayersParams p) {
  mamba_layers<WeightCopies<5>, 4, 8, 8>(p);
}
