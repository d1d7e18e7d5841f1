// All layers of a Mamba-2 model for rows of up to 3,072 columns, of up to 5,120 with the gate, and of 40 channels a block: see
// layers.cuh. It is compiled once for each format.
#include "layers.cuh"

// x, out (hidden), outputs (numOutputs), states (slots, H, P, 128), of whatever stride. Grid: at most as many blocks of 256 as the
// GPU holds at a time.
extern "C" __global__ void __launch_bounds__(256, 1) OF_FORMAT(mamba_layers_5)(const MambaLayersParams p) {
  mamba_layers<WeightRows, 3, 5, 5>(p);
}
