import type { ArrayOps } from '../../contract/arrays.ts';
import type { AttentionOps } from '../../contract/attention.ts';
import { boundOperations, type OperationCalls } from '../../contract/bound-operations.ts';
import type { CollectiveOps } from '../../contract/collectives.ts';
import type { FeedForwardOps } from '../../contract/feed-forward.ts';
import type { LinearOps } from '../../contract/linear.ts';
import type { NormOps } from '../../contract/norms.ts';
import type { RowOps } from '../../contract/rows.ts';
import type { SamplingOps } from '../../contract/sampling.ts';
import type { ReplayOps, StateSpaceOps } from '../../contract/state-space.ts';
import type { CudaCalls } from '../device/cuda-calls.ts';
import { pagedAttention, reshapeAndCache, rotaryEmbedding, rotaryTable } from './attention.ts';
import { allGatherColumns, allReduce } from './collectives.ts';
import { causalConv1dFn, causalConv1dUpdate } from './convolution.ts';
import { topKRouting } from './experts.ts';
import { embedding, linear } from './linear.ts';
import { groupSquareSums, rmsNorm, scaleByGroupNorm, scaleRows } from './norms.ts';
import { FEWEST_ROWS, stepsOf } from './replay-steps.ts';
import {
  activate,
  activateAndMul,
  add,
  concatColumns,
  gatherRows,
  mulColumns,
  mulScalar,
  scatterRows,
  siluGate,
} from './rows.ts';
import { sampleTokens, takeSampled } from './sampling.ts';
import { logDecaySums, mambaChunkScan, selectiveStateUpdate, takeReplayed } from './state-space.ts';

/** The contract's operations that need nothing but the calls. */
type Operations = Pick<ArrayOps, 'concatColumns'> &
  Pick<LinearOps, 'linear' | 'embedding'> &
  RowOps &
  NormOps &
  StateSpaceOps &
  AttentionOps &
  Omit<FeedForwardOps, 'fusedMoe'> &
  CollectiveOps;

/** Every operation, by its name in the contract. */
const OPERATIONS: OperationCalls<CudaCalls, Operations> = {
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
  allReduce,
  allGatherColumns,
};

const SAMPLING: OperationCalls<CudaCalls, SamplingOps> = { sampleTokens, takeSampled };

/** Decoding from states that lack tokens, of one backend. */
export function replayMethods(calls: CudaCalls): ReplayOps {
  return { stepsOf, fewestRows: FEWEST_ROWS, takeReplayed: (args) => takeReplayed(calls, args) };
}

/** The class that a backend inherits its operations from. */
export const OperationMethods = class {
  constructor(calls: CudaCalls) {
    Object.assign(this, boundOperations(OPERATIONS, calls));
  }
} as new (
  calls: CudaCalls,
) => Operations;

/** The operations that choose tokens, of one backend. */
export function samplingMethods(calls: CudaCalls): SamplingOps {
  return boundOperations(SAMPLING, calls);
}
