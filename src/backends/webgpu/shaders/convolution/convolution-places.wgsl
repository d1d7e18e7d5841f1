  // Where the operands of a convolution lie that follows a product: see convolve.wgsl and convolve-fours.wgsl.
  C: u32,
  statesOffset: u32,
  statesStride: u32,
  convWeightOffset: u32,
  convBiasOffset: u32,
  convolvedOffset: u32,
  convolvedStride: u32,
