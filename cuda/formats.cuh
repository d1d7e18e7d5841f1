// Numbers of the formats that weights and states may have.
#pragma once

enum Format {
  FLOAT32, FLOAT16, BFLOAT16,
  Q8_0, Q4_0, Q4_K, Q5_K, Q6_K, MXFP4, NVFP4, INT4_G32, INT4_G64, INT4_G128, INT8_G128, F8_E4M3,
  // What unpack_codes makes of any format of blocks.
  CODES
};
