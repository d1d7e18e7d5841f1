import type { AttentionKernels } from './attention-kernels.ts';
import { compileWithFastSimd } from './engine-flags.ts';
import type { FeedForwardKernels } from './feed-forward-kernels.ts';
import { RELAXED_SIMD, SIMD } from './kernels.generated.ts';

/** What `kernels/index.ts` exports. Addresses and strides are in bytes, counts in elements, flags 0 or 1. */
export interface Kernels extends AttentionKernels, FeedForwardKernels {
  convSequence(
    x: number,
    xStride: number,
    weight: number,
    bias: number,
    state: number,
    out: number,
    outStride: number,
    tokens: number,
    channels: number,
    padded: number,
    K: number,
    W: number,
    hasInitialState: number,
    silu: number,
    scratch: number,
  ): void;
  convRows(
    x: number,
    xStride: number,
    weight: number,
    bias: number,
    states: number,
    slotBytes: number,
    slots: number,
    out: number,
    outStride: number,
    rows: number,
    channels: number,
    padded: number,
    K: number,
    W: number,
    silu: number,
    scratch: number,
  ): void;
  linearF32(
    x: number,
    xStride: number,
    w: number,
    out: number,
    outStride: number,
    rows: number,
    panels: number,
    K: number,
  ): void;
  linearBF16(
    x: number,
    xStride: number,
    w: number,
    out: number,
    outStride: number,
    rows: number,
    panels: number,
    K: number,
  ): void;
  quantizeRows(x: number, xStride: number, q: number, scales: number, rows: number, K: number, Kpad: number): void;
  linearInt8(
    q: number,
    scales: number,
    w: number,
    out: number,
    outStride: number,
    rows: number,
    panels: number,
    Kpad: number,
  ): void;
  linearInt4(
    q: number,
    scales: number,
    w: number,
    out: number,
    outStride: number,
    rows: number,
    panels: number,
    Kpad: number,
    scratch: number,
  ): void;
  packF32(values: number, count: number, K: number, w: number, firstRow: number): void;
  packBF16(values: number, count: number, K: number, w: number, firstRow: number): void;
  packInt8(values: number, count: number, K: number, w: number, firstRow: number): void;
  packInt4(values: number, count: number, K: number, w: number, firstRow: number): void;
  embeddingRows(
    ids: number,
    count: number,
    firstRow: number,
    tableRows: number,
    w: number,
    K: number,
    kind: number,
    out: number,
    outStride: number,
  ): void;
  copyRows(from: number, fromStride: number, to: number, toStride: number, rows: number, bytes: number): void;
  gatherRows(
    x: number,
    xStride: number,
    indices: number,
    out: number,
    outStride: number,
    rows: number,
    bytes: number,
  ): void;
  clear(address: number, bytes: number): void;
  add(
    x: number,
    xStride: number,
    y: number,
    yStride: number,
    out: number,
    outStride: number,
    rows: number,
    columns: number,
  ): void;
  mulColumns(
    x: number,
    xStride: number,
    v: number,
    out: number,
    outStride: number,
    rows: number,
    columns: number,
  ): void;
  siluGate(
    x: number,
    xStride: number,
    z: number,
    zStride: number,
    out: number,
    outStride: number,
    rows: number,
    columns: number,
  ): void;
  scaleRows(
    x: number,
    xStride: number,
    squareSums: number,
    sumsStride: number,
    out: number,
    outStride: number,
    rows: number,
    columns: number,
    count: number,
    eps: number,
  ): void;
  rmsNorm(
    x: number,
    xStride: number,
    weight: number,
    out: number,
    outStride: number,
    rows: number,
    columns: number,
    eps: number,
  ): void;
  groupSquareSums(
    v: number,
    vStride: number,
    out: number,
    outStride: number,
    rows: number,
    columns: number,
    groups: number,
    groupSize: number,
    firstColumn: number,
  ): void;
  scaleByGroupNorm(
    v: number,
    vStride: number,
    sums: number,
    sumsStride: number,
    weight: number,
    out: number,
    outStride: number,
    rows: number,
    columns: number,
    groupSize: number,
    firstColumn: number,
    eps: number,
  ): void;
  scanSequence(
    x: number,
    xStride: number,
    dt: number,
    dtStride: number,
    B: number,
    bStride: number,
    C: number,
    cStride: number,
    z: number,
    zStride: number,
    out: number,
    outStride: number,
    A: number,
    dtBias: number,
    D: number,
    state: number,
    tokens: number,
    H: number,
    P: number,
    N: number,
    headsPerGroup: number,
    softplus: number,
    low: number,
    high: number,
    scratch: number,
  ): void;
  scanRows(
    x: number,
    xStride: number,
    dt: number,
    dtStride: number,
    B: number,
    bStride: number,
    C: number,
    cStride: number,
    z: number,
    zStride: number,
    out: number,
    outStride: number,
    A: number,
    dtBias: number,
    D: number,
    states: number,
    slotBytes: number,
    slots: number,
    rows: number,
    padding: number,
    H: number,
    P: number,
    N: number,
    headsPerGroup: number,
    softplus: number,
    low: number,
    high: number,
    scratch: number,
  ): void;
  logDecaySums(
    dt: number,
    dtStride: number,
    A: number,
    dtBias: number,
    starts: number,
    sequences: number,
    out: number,
    outStride: number,
    H: number,
    softplus: number,
    low: number,
    high: number,
  ): void;
  scanScratch(tokens: number, H: number, P: number, N: number): number;
  mulScalar(
    x: number,
    xStride: number,
    factor: number,
    out: number,
    outStride: number,
    rows: number,
    columns: number,
  ): void;
}

/** Instruction sets, fastest first. */
export const KERNEL_VARIANTS = ['relaxed-simd', 'simd'] as const;
export type KernelVariant = (typeof KERNEL_VARIANTS)[number];

const SOURCES: Readonly<Record<KernelVariant, string>> = { 'relaxed-simd': RELAXED_SIMD, simd: SIMD };

/** Kernels that are compiled but work on no memory yet. Threads can be sent them. */
export interface CompiledKernels {
  readonly variant: KernelVariant;
  readonly module: WebAssembly.Module;
}

/** Compiles a variant; undefined where the engine does not know its instructions. */
export function compileKernels(variant: KernelVariant): CompiledKernels | undefined {
  const module = compileWithFastSimd(Uint8Array.from(atob(SOURCES[variant]), (char) => char.charCodeAt(0)));
  return module && { variant, module };
}

export function instantiateKernels(module: WebAssembly.Module, memory: WebAssembly.Memory): Kernels {
  // The exports' names and signatures are those of kernels/index.ts, which is built together with this file.
  return new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Kernels;
}
