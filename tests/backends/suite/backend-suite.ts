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
import { describeReplay } from './replay.ts';
import { describeSelectiveStateUpdate } from './selective-state-update.ts';
import { describeShortCaches } from './short-caches.ts';
import { describeShortStates, describeShortStatesInChunks } from './short-states.ts';
import { describeSplitProperties } from './split-properties.ts';
import { describeStridedArguments } from './strided-arguments.ts';

/** What a backend must do, by what it is about. */
export const SECTIONS = {
  arrays: describeArrays,
  dense: describeDense,
  norms: describeNorms,
  causalConv1dFn: describeCausalConv1dFn,
  causalConv1dUpdate: describeCausalConv1dUpdate,
  chunkScan: describeChunkScan,
  chunkScanBatches: describeChunkScanBatches,
  selectiveStateUpdate: describeSelectiveStateUpdate,
  replay: describeReplay,
  logDecaySums: describeLogDecaySums,
  shortStates: describeShortStates,
  shortStatesInChunks: describeShortStatesInChunks,
  splitProperties: describeSplitProperties,
  stridedArguments: describeStridedArguments,
  attention: describeAttention,
  shortCaches: describeShortCaches,
  feedForward: describeFeedForward,
  contract: describeContract,
} satisfies Readonly<Record<string, (makeBackend: MakeBackend, demands: Demands) => void>>;

/** All that a backend must do, as tests. */
export function describeBackend(makeBackend: MakeBackend, demands: Demands): void {
  for (const describeSection of Object.values(SECTIONS)) describeSection(makeBackend, demands);
}
