import type { ArrayOps } from '../../contract/arrays.ts';
import type { AttentionOps } from '../../contract/attention.ts';
import type { FeedForwardOps } from '../../contract/feed-forward.ts';
import type { LinearOps } from '../../contract/linear.ts';
import type { NormOps } from '../../contract/norms.ts';
import type { RowOps } from '../../contract/rows.ts';
import type { SamplingOps } from '../../contract/sampling.ts';
import type { StateSpaceOps } from '../../contract/state-space.ts';
import type { CudaCalls } from '../device/cuda-calls.ts';
import { pagedAttention, reshapeAndCache, rotaryEmbedding, rotaryTable } from './attention.ts';
import { causalConv1dFn, causalConv1dUpdate } from './convolution.ts';
import { topKRouting } from './experts.ts';
import { embedding, linear } from './linear.ts';
import { groupSquareSums, rmsNorm, scaleByGroupNorm, scaleRows } from './norms.ts';
import { activate, activateAndMul, add, concatColumns, gatherRows, mulColumns, mulScalar, siluGate } from './rows.ts';
import { sampleTokens, takeSampled } from './sampling.ts';
import { logDecaySums, mambaChunkScan, selectiveStateUpdate } from './state-space.ts';

/** The contract's operations that need nothing but the calls. */
type Operations = Pick<ArrayOps, 'concatColumns'> &
  Pick<LinearOps, 'linear' | 'embedding'> &
  RowOps &
  NormOps &
  StateSpaceOps &
  AttentionOps &
  Omit<FeedForwardOps, 'fusedMoe'>;

/** A function that checks a call of an operation and enqueues it. */
type Call<Method> = Method extends (...args: infer Args) => infer Result
  ? (calls: CudaCalls, ...args: Args) => Result
  : never;

/** Every operation, by its name in the contract. */
const OPERATIONS: { readonly [Name in keyof Operations]: Call<Operations[Name]> } = {
  linear,
  embedding,
  concatColumns,
  gatherRows,
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
};

/** The class that a backend inherits its operations from. */
export const OperationMethods = class {
  constructor(calls: CudaCalls) {
    const bound = Object.entries<(calls: CudaCalls, ...args: never[]) => unknown>(OPERATIONS).map(([name, call]) => {
      return [name, call.bind(undefined, calls)];
    });
    Object.assign(this, Object.fromEntries(bound));
  }
} as new (
  calls: CudaCalls,
) => Operations;

/** The operations that choose tokens, of one backend. */
export function samplingMethods(calls: CudaCalls): SamplingOps {
  return {
    sampleTokens: (logits, rows, sampled) => sampleTokens(calls, logits, rows, sampled),
    takeSampled: (tokenIds, slots, sampled) => takeSampled(calls, tokenIds, slots, sampled),
  };
}
