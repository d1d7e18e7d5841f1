import { describeArrays } from './arrays.ts';
import { describeAttention } from './attention.ts';
import { describeCausalConv1dFn } from './causal-conv1d-fn.ts';
import { describeCausalConv1dUpdate } from './causal-conv1d-update.ts';
import { describeChunkScan } from './chunk-scan.ts';
import { describeChunkScanBatches } from './chunk-scan-batches.ts';
import { describeContract } from './contract.ts';
import { describeDense } from './dense.ts';
import { describeFeedForward } from './feed-forward.ts';
import type { Demands, MakeBackend } from './harness.ts';
import { describeLogDecaySums } from './log-decay-sums.ts';
import { describeNorms } from './norms.ts';
import { describeSelectiveStateUpdate } from './selective-state-update.ts';
import { describeSplitProperties } from './split-properties.ts';
import { describeStridedArguments } from './strided-arguments.ts';

/** All that a backend must do, as tests. */
export function describeBackend(makeBackend: MakeBackend, demands: Demands): void {
  describeArrays(makeBackend);
  describeDense(makeBackend, demands);
  describeNorms(makeBackend, demands);
  describeCausalConv1dFn(makeBackend, demands);
  describeCausalConv1dUpdate(makeBackend, demands);
  describeChunkScan(makeBackend, demands);
  describeChunkScanBatches(makeBackend, demands);
  describeSelectiveStateUpdate(makeBackend, demands);
  describeLogDecaySums(makeBackend, demands);
  describeSplitProperties(makeBackend, demands);
  describeStridedArguments(makeBackend);
  describeAttention(makeBackend, demands);
  describeFeedForward(makeBackend, demands);
  describeContract(makeBackend);
}
