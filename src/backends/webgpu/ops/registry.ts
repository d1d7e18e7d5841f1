import type { ArrayOps } from '../../contract/arrays.ts';
import type { AttentionOps } from '../../contract/attention.ts';
import { boundOperations, type OperationCalls } from '../../contract/bound-operations.ts';
import type { FeedForwardOps } from '../../contract/feed-forward.ts';
import type { LinearOps } from '../../contract/linear.ts';
import type { NormOps } from '../../contract/norms.ts';
import type { RowOps } from '../../contract/rows.ts';
import type { SamplingOps } from '../../contract/sampling.ts';
import type { StateSpaceOps } from '../../contract/state-space.ts';
import type { Fusion } from '../graph/fuse.ts';
import { pagedAttention } from './attention/paged-attention.ts';
import { reshapeAndCache } from './attention/reshape-and-cache.ts';
import { rotaryEmbedding } from './attention/rotary-embedding.ts';
import { rotaryTable } from './attention/rotary-table.ts';
import type { Calls } from './calls.ts';
import { causalConv1dFn } from './convolution/causal-conv1d-fn.ts';
import { causalConv1dUpdate } from './convolution/causal-conv1d-update.ts';
import { fusedMoe } from './feed-forward/fused-moe.ts';
import { topKRouting } from './feed-forward/top-k-routing.ts';
import { linear } from './linear/linear.ts';
import { fuseGatedNormLinear, fuseNormLinear } from './linear/norm-linear.ts';
import { groupSquareSums } from './norms/group-square-sums.ts';
import { rmsNorm } from './norms/rms-norm.ts';
import { scaleByGroupNorm } from './norms/scale-by-group-norm.ts';
import { scaleRows } from './norms/scale-rows.ts';
import { concatColumns } from './rows/concat-columns.ts';
import { activate, activateAndMul, add, mulColumns, mulScalar, siluGate } from './rows/elementwise.ts';
import { embedding } from './rows/embedding.ts';
import { gatherRows } from './rows/gather-rows.ts';
import { scatterRows } from './rows/scatter-rows.ts';
import { sampleTokens } from './sampling/sample-tokens.ts';
import { takeSampled } from './sampling/take-sampled.ts';
import { fuseGatedStateSpace } from './state-space/gated-state-space.ts';
import { logDecaySums } from './state-space/log-decay-sums.ts';
import { mambaChunkScan } from './state-space/mamba-chunk-scan.ts';
import { selectiveStateUpdate } from './state-space/selective-state-update.ts';

/** The contract's operations that become operations of the graph. */
export type Operations = Pick<ArrayOps, 'concatColumns'> &
  Pick<LinearOps, 'linear' | 'embedding'> &
  RowOps &
  NormOps &
  StateSpaceOps &
  AttentionOps &
  FeedForwardOps;

/** Every operation, by its name in the contract. */
const OPERATIONS: OperationCalls<Calls, Operations> = {
  linear,
  embedding,
  concatColumns,
  gatherRows,
  scatterRows,
  add,
  mulScalar,
  mulColumns,
  rmsNorm,
  siluGate,
  groupSquareSums,
  scaleByGroupNorm,
  scaleRows,
  causalConv1dFn,
  causalConv1dUpdate,
  mambaChunkScan,
  selectiveStateUpdate,
  logDecaySums,
  rotaryTable,
  rotaryEmbedding,
  reshapeAndCache,
  pagedAttention,
  activate,
  activateAndMul,
  topKRouting,
  fusedMoe,
};

const SAMPLING: OperationCalls<Calls, SamplingOps> = { sampleTokens, takeSampled };

/** Neighbours that one kernel computes together. */
export const FUSIONS: readonly Fusion[] = [fuseNormLinear, fuseGatedNormLinear, fuseGatedStateSpace];

/** The class that a backend inherits its operations from. */
export const OperationMethods = class {
  constructor(calls: Calls) {
    Object.assign(this, boundOperations(OPERATIONS, calls));
  }
} as new (
  calls: Calls,
) => Operations;

/** The operations that choose tokens, of one backend. */
export function samplingMethods(calls: Calls): SamplingOps {
  return boundOperations(SAMPLING, calls);
}
