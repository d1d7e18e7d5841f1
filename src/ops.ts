/// <reference path="../types/globals.d.ts" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The operations of Mamba-2 and of hybrids' other layers, under the names that the field knows, as plain
 * functions over host tensors. Their contracts are those of {@link StateSpaceOps}, {@link AttentionOps} and
 * {@link FeedForwardOps}; these are the reference implementations.
 *
 * @module mamba2/ops
 */

export { MLP_ACTIVATIONS, type MlpActivation } from './backends/contract/activations.ts';
export {
  type AttentionOps,
  PAD_CACHE_SLOT,
  type PagedAttentionArgs,
  type PagedSequences,
  type ReshapeAndCacheArgs,
} from './backends/contract/attention.ts';
export type {
  Activation,
  CausalConv1dArgs,
  CausalConv1dUpdateArgs,
  ConvolutionOps,
} from './backends/contract/convolution.ts';
export type { ExpertOps, ExpertWeights, RoutingOptions } from './backends/contract/experts.ts';
export type { FeedForwardOps } from './backends/contract/feed-forward.ts';
export { HostTensor, hostIndices, hostTensor, hostZeros } from './backends/contract/host-tensor.ts';
export type { LinearWeight } from './backends/contract/linear.ts';
export { PAD_SLOT_ID } from './backends/contract/sequences.ts';
export type {
  ChunkScanArgs,
  LogDecayArgs,
  Replay,
  SelectiveStateArgs,
  SelectiveStateUpdateArgs,
  StateSpaceOps,
  StochasticRounding,
} from './backends/contract/state-space.ts';
export { pagedAttention, reshapeAndCache, rotaryEmbedding, rotaryTable } from './backends/reference/attention.ts';
export { causalConv1dFn, causalConv1dUpdate } from './backends/reference/causal-conv1d.ts';
export { hostLinearWeight, linear } from './backends/reference/dense.ts';
export { activate, activateAndMul, fusedMoe, topKRouting } from './backends/reference/feed-forward.ts';
export { type FlashAttnVarlenArgs, flashAttnVarlenFunc } from './backends/reference/flash-attn-varlen-func.ts';
export {
  type ChunkScanCombinedArgs,
  mambaChunkScanCombined,
} from './backends/reference/mamba-chunk-scan-combined.ts';
export { type RmsNormGatedOptions, rmsNorm, rmsNormGated } from './backends/reference/norms.ts';
export { logDecaySums, mambaChunkScan, selectiveStateUpdate } from './backends/reference/state-space.ts';
export type { BlockFormat, MatrixDType } from './tensor/block-formats.ts';
export type { KvCacheDType, ShortKvCacheDType } from './tensor/kv-cache-dtype.ts';
export type { ShortStateDType, StateDType } from './tensor/state-dtype.ts';
