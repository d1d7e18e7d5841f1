/** What the kernels have for attention layers. */
export interface AttentionKernels {
  rotaryRows(
    x: number,
    xStride: number,
    table: number,
    tableStride: number,
    out: number,
    outStride: number,
    rows: number,
    heads: number,
    D: number,
    R: number,
  ): void;
  cacheRows(
    x: number,
    xStride: number,
    cache: number,
    blockBytes: number,
    blockSize: number,
    rowBytes: number,
    slots: number,
    rows: number,
  ): void;
  pagedAttention(
    query: number,
    queryStride: number,
    keys: number,
    keyBlock: number,
    values: number,
    valueBlock: number,
    blockSize: number,
    starts: number,
    contextLens: number,
    tables: number,
    sequences: number,
    width: number,
    out: number,
    outStride: number,
    heads: number,
    kvHeads: number,
    D: number,
    scale: number,
    scratch: number,
  ): void;
  attentionScratch(heads: number, D: number): number;
}
