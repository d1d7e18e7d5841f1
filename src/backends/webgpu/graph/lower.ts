import { lowerLinear, lowerNormLinear } from '../linear/lower-linear.ts';
import type { FusedOperation } from '../ops/fused-operation.ts';
import { lowerCacheRows, lowerPagedAttention, lowerRotaryEmbedding, lowerRotaryTable } from '../ops/lower-attention.ts';
import { lowerChunkedScan } from '../ops/lower-chunked-scan.ts';
import { lowerExpertLinear, lowerExpertSum, lowerExpertTable } from '../ops/lower-experts.ts';
import { lowerActivate, lowerTopKRouting } from '../ops/lower-feed-forward.ts';
import { lowerGatedStateSpace } from '../ops/lower-gated-state-space.ts';
import {
  lowerCopyRows,
  lowerElementwise,
  lowerEmbedding,
  lowerGatherRows,
  lowerGroupSquareSums,
  lowerMulScalar,
  lowerRmsNorm,
  lowerScaleByGroupNorm,
  lowerScaleRows,
} from '../ops/lower-rows.ts';
import { lowerSampleTokens, lowerTakeSampled } from '../ops/lower-sampling.ts';
import {
  lowerConvolution,
  lowerConvolutionUpdate,
  lowerLogDecaySums,
  lowerScan,
  lowerStateUpdate,
} from '../ops/lower-state-space.ts';
import type { Lowering } from './lowering.ts';
import type { Operation } from './operation.ts';

/** Turns an operation into commands. */
export function lower(lowering: Lowering, operation: Operation | FusedOperation): void {
  switch (operation.type) {
    case 'linear':
      lowerLinear(lowering, operation);
      break;
    case 'embedding':
      lowerEmbedding(lowering, operation);
      break;
    case 'gatherRows':
      lowerGatherRows(lowering, operation);
      break;
    case 'copyRows':
      lowerCopyRows(lowering, operation);
      break;
    case 'add':
    case 'siluGate':
    case 'mulColumns':
      lowerElementwise(lowering, operation);
      break;
    case 'mulScalar':
      lowerMulScalar(lowering, operation);
      break;
    case 'logDecaySums':
      lowerLogDecaySums(lowering, operation);
      break;
    case 'rmsNorm':
      lowerRmsNorm(lowering, operation);
      break;
    case 'groupSquareSums':
      lowerGroupSquareSums(lowering, operation);
      break;
    case 'scaleByGroupNorm':
      lowerScaleByGroupNorm(lowering, operation);
      break;
    case 'scaleRows':
      lowerScaleRows(lowering, operation);
      break;
    case 'causalConv1dFn':
      lowerConvolution(lowering, operation);
      break;
    case 'causalConv1dUpdate':
      lowerConvolutionUpdate(lowering, operation);
      break;
    case 'mambaChunkScan':
      if (!lowerChunkedScan(lowering, operation)) lowerScan(lowering, operation);
      break;
    case 'selectiveStateUpdate':
      lowerStateUpdate(lowering, operation);
      break;
    case 'normLinear':
      if (!lowerNormLinear(lowering, operation)) lowerParts(lowering, operation);
      break;
    case 'gatedStateSpace':
      if (!lowerGatedStateSpace(lowering, operation)) lowerParts(lowering, operation);
      break;
    case 'rotaryTable':
      lowerRotaryTable(lowering, operation);
      break;
    case 'rotaryEmbedding':
      lowerRotaryEmbedding(lowering, operation);
      break;
    case 'cacheRows':
      lowerCacheRows(lowering, operation);
      break;
    case 'pagedAttention':
      lowerPagedAttention(lowering, operation);
      break;
    case 'activate':
      lowerActivate(lowering, operation);
      break;
    case 'topKRouting':
      lowerTopKRouting(lowering, operation);
      break;
    case 'expertTable':
      lowerExpertTable(lowering, operation);
      break;
    case 'expertLinear':
      lowerExpertLinear(lowering, operation);
      break;
    case 'expertSum':
      lowerExpertSum(lowering, operation);
      break;
    case 'sampleTokens':
      lowerSampleTokens(lowering, operation);
      break;
    case 'takeSampled':
      lowerTakeSampled(lowering, operation);
      break;
    case 'command':
      lowering.commands.push(operation.command);
  }
}

function lowerParts(lowering: Lowering, operation: FusedOperation): void {
  const { parts } = operation;
  lowering.handover.assertNothingFor(operation);
  for (const part of parts) lower(lowering, part);
}
