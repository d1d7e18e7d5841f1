/** What the kernels have for feed-forward layers and mixtures of experts. */
export interface FeedForwardKernels {
  activateRows(
    x: number,
    xStride: number,
    out: number,
    outStride: number,
    rows: number,
    columns: number,
    kind: number,
  ): void;
  activateAndMulRows(
    gate: number,
    gateStride: number,
    x: number,
    xStride: number,
    out: number,
    outStride: number,
    rows: number,
    columns: number,
    kind: number,
  ): void;
  topKRouting(
    logits: number,
    logitsStride: number,
    bias: number,
    out: number,
    outStride: number,
    rows: number,
    experts: number,
    topK: number,
    sigmoid: number,
    groups: number,
    topKGroups: number,
    renormalize: number,
    scale: number,
    scratch: number,
  ): void;
  routingScratch(experts: number, groups: number): number;
  expertRows(routing: number, stride: number, rows: number, expert: number, indices: number, weights: number): number;
  addWeightedRows(
    x: number,
    xStride: number,
    indices: number,
    weights: number,
    out: number,
    outStride: number,
    rows: number,
    columns: number,
  ): void;
}
