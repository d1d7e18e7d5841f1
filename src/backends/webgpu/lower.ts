import { lowerCacheRows, lowerPagedAttention, lowerRotaryEmbedding, lowerRotaryTable } from './lower-attention.ts';
import { lowerActivate, lowerAddWeighted, lowerTopKRouting } from './lower-feed-forward.ts';
import {
  lowerCopyRows,
  lowerElementwise,
  lowerEmbedding,
  lowerGatherRows,
  lowerGroupSquareSums,
  lowerLinear,
  lowerMulScalar,
  lowerRmsNorm,
  lowerScaleByGroupNorm,
  lowerScaleRows,
} from './lower-rows.ts';
import {
  lowerConvolution,
  lowerConvolutionUpdate,
  lowerLogDecaySums,
  lowerScan,
  lowerStateUpdate,
} from './lower-state-space.ts';
import type { Lowering } from './lowering.ts';
import type { Operation } from './operation.ts';

/** Turns an operation into commands. */
export function lower(lowering: Lowering, operation: Operation): void {
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
      lowerScan(lowering, operation);
      break;
    case 'selectiveStateUpdate':
      lowerStateUpdate(lowering, operation);
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
    case 'addWeighted':
      lowerAddWeighted(lowering, operation);
      break;
    case 'command':
      lowering.commands.push(operation.command);
  }
}
