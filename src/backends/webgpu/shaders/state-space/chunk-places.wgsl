  // What the products of the scan in chunks are told: see chunk-product.wgsl.
  H: u32,
  headsPerGroup: u32,
  rows: u32,
  chunks0: u32,     // where the table of chunks begins
  xOffset: u32,
  bOffset: u32,
  cOffset: u32,
  rowStride: u32,   // of x, B and C
