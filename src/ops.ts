/**
 * The operations of a Mamba-2 layer under the names that the field knows, as plain functions over host tensors.
 * Their contracts are those of {@link StateSpaceOps}; these are the reference implementations.
 */
export { causalConv1dFn, causalConv1dUpdate } from './backends/reference/causal-conv1d.ts';
export { HostTensor, hostIndices, hostTensor, hostZeros } from './backends/reference/host-tensor.ts';
export {
  type ChunkScanCombinedArgs,
  mambaChunkScanCombined,
} from './backends/reference/mamba-chunk-scan-combined.ts';
export { type RmsNormGatedOptions, rmsNorm, rmsNormGated } from './backends/reference/norms.ts';
export { logDecaySums, mambaChunkScan, selectiveStateUpdate } from './backends/reference/state-space.ts';
export {
  type Activation,
  type CausalConv1dArgs,
  type CausalConv1dUpdateArgs,
  type ChunkScanArgs,
  type LogDecayArgs,
  PAD_SLOT_ID,
  type SelectiveStateArgs,
  type SelectiveStateUpdateArgs,
} from './backends/state-space-ops.ts';
