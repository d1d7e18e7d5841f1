import type { MlpActivation } from '../../contract/activations.ts';
import type { Activation } from '../../contract/convolution.ts';
import type { RoutingOptions } from '../../contract/experts.ts';
import type { GroupLayout } from '../../contract/norms.ts';
import type { GpuIndices, GpuTensor } from '../device/gpu-tensor.ts';
import type { GpuLinearWeight } from '../linear/linear-weight.ts';
import type { ExpertLinearOperation, ExpertSumOperation, ExpertTableOperation } from '../ops/expert-operation.ts';
import type { Command } from './command.ts';

/**
 * What operations enqueue: checked calls as data, so that neighbours can be looked at together before they become
 * dispatches. Shapes are those of the contract.
 */
export type Operation =
  | LinearOperation
  | EmbeddingOperation
  | GatherRowsOperation
  | ElementwiseOperation
  | MulScalarOperation
  | RmsNormOperation
  | GroupSquareSumsOperation
  | ScaleByGroupNormOperation
  | ScaleRowsOperation
  | CopyRowsOperation
  | ConvolutionOperation
  | ConvolutionUpdateOperation
  | ScanOperation
  | StateUpdateOperation
  | LogDecaySumsOperation
  | RotaryTableOperation
  | RotaryEmbeddingOperation
  | CacheRowsOperation
  | PagedAttentionOperation
  | ActivateOperation
  | TopKRoutingOperation
  | ExpertTableOperation
  | ExpertLinearOperation
  | ExpertSumOperation
  | SampleTokensOperation
  | TakeSampledOperation
  | CommandOperation;

export interface LinearOperation {
  readonly type: 'linear';
  readonly x: GpuTensor;
  readonly weight: GpuLinearWeight;
  readonly bias: GpuTensor | undefined;
  readonly out: GpuTensor;
}

export interface EmbeddingOperation {
  readonly type: 'embedding';
  readonly ids: GpuIndices;
  readonly table: GpuLinearWeight;
  readonly firstRow: number;
  readonly out: GpuTensor;
}

export interface GatherRowsOperation {
  readonly type: 'gatherRows';
  readonly x: GpuTensor;
  readonly rows: GpuIndices;
  readonly out: GpuTensor;
}

/** out = x + y, or x * silu(y), or x * y with a vector y. */
export interface ElementwiseOperation {
  readonly type: 'add' | 'siluGate' | 'mulColumns';
  readonly x: GpuTensor;
  readonly y: GpuTensor;
  readonly out: GpuTensor;
}

export interface MulScalarOperation {
  readonly type: 'mulScalar';
  readonly x: GpuTensor;
  readonly factor: number;
  readonly out: GpuTensor;
}

export interface RmsNormOperation {
  readonly type: 'rmsNorm';
  readonly x: GpuTensor;
  readonly weight: GpuTensor;
  readonly eps: number;
  readonly out: GpuTensor;
}

export interface GroupSquareSumsOperation {
  readonly type: 'groupSquareSums';
  readonly v: GpuTensor;
  readonly layout: GroupLayout;
  readonly out: GpuTensor;
}

export interface ScaleByGroupNormOperation {
  readonly type: 'scaleByGroupNorm';
  readonly v: GpuTensor;
  readonly squareSums: GpuTensor;
  readonly weight: GpuTensor;
  readonly eps: number;
  readonly layout: GroupLayout;
  readonly out: GpuTensor;
}

export interface ScaleRowsOperation {
  readonly type: 'scaleRows';
  readonly x: GpuTensor;
  readonly squareSums: GpuTensor;
  readonly count: number;
  readonly eps: number;
  readonly out: GpuTensor;
}

/** out = x, row by row: rows are entries of the first dimension. */
export interface CopyRowsOperation {
  readonly type: 'copyRows';
  readonly x: GpuTensor;
  readonly out: GpuTensor;
}

interface ConvolutionParts {
  readonly x: GpuTensor;
  readonly weight: GpuTensor;
  readonly bias: GpuTensor | undefined;
  readonly activation: Activation | undefined;
  readonly states: GpuTensor;
  readonly out: GpuTensor;
}

/** causalConv1dFn. `sequences` is what {@link sequenceTable} makes. */
export interface ConvolutionOperation extends ConvolutionParts {
  readonly type: 'causalConv1dFn';
  readonly sequences: SequenceTable;
}

/** causalConv1dUpdate. x and out are (B, L, C). */
export interface ConvolutionUpdateOperation extends ConvolutionParts {
  readonly type: 'causalConv1dUpdate';
  readonly slots: GpuIndices | undefined;
  readonly seen: GpuIndices | undefined;
}

export interface StateSpaceParts {
  readonly x: GpuTensor;
  readonly dt: GpuTensor;
  readonly A: GpuTensor;
  readonly B: GpuTensor;
  readonly C: GpuTensor;
  readonly D: GpuTensor | undefined;
  readonly dtBias: GpuTensor | undefined;
  readonly dtSoftplus: boolean;
  readonly dtLimit: readonly [number, number];
  readonly nGroups: number;
  /** (S, H, P, N) */
  readonly states: GpuTensor;
  readonly out: GpuTensor;
}

export interface ScanOperation extends StateSpaceParts {
  readonly type: 'mambaChunkScan';
  readonly chunkSize: number;
  readonly sequences: SequenceTable;
}

export interface StateUpdateOperation extends StateSpaceParts {
  readonly type: 'selectiveStateUpdate';
  readonly slots: GpuIndices | undefined;
}

export interface LogDecaySumsOperation {
  readonly type: 'logDecaySums';
  readonly dt: GpuTensor;
  readonly A: GpuTensor;
  readonly dtBias: GpuTensor | undefined;
  readonly dtSoftplus: boolean;
  readonly dtLimit: readonly [number, number];
  /** Absent: every row is one. */
  readonly sequences: SequenceTable | undefined;
  readonly out: GpuTensor;
}

export interface RotaryTableOperation {
  readonly type: 'rotaryTable';
  readonly positions: GpuIndices;
  readonly frequencies: GpuTensor;
  readonly scale: number;
  readonly out: GpuTensor;
}

export interface RotaryEmbeddingOperation {
  readonly type: 'rotaryEmbedding';
  readonly x: GpuTensor;
  readonly angles: GpuTensor;
  readonly headDim: number;
  readonly out: GpuTensor;
}

/** One half of reshapeAndCache; `out` is the cache, updated in place. */
export interface CacheRowsOperation {
  readonly type: 'cacheRows';
  readonly x: GpuTensor;
  readonly places: GpuIndices;
  readonly out: GpuTensor;
}

export interface PagedAttentionOperation {
  readonly type: 'pagedAttention';
  readonly query: GpuTensor;
  readonly keyCache: GpuTensor;
  readonly valueCache: GpuTensor;
  readonly queryStartLoc: GpuIndices;
  readonly contextLens: GpuIndices;
  readonly blockTables: GpuIndices;
  readonly tableWidth: number;
  readonly scale: number;
  readonly out: GpuTensor;
}

/** activation(x), or activation(gate) * x. */
export interface ActivateOperation {
  readonly type: 'activate';
  readonly gate: GpuTensor | undefined;
  readonly x: GpuTensor;
  readonly activation: MlpActivation;
  readonly out: GpuTensor;
}

export interface TopKRoutingOperation {
  readonly type: 'topKRouting';
  readonly logits: GpuTensor;
  readonly options: RoutingOptions;
  readonly bias: GpuTensor | undefined;
  readonly out: GpuTensor;
}

/** Chooses a token for each row of logits, which are changed in place. */
export interface SampleTokensOperation {
  readonly type: 'sampleTokens';
  readonly logits: GpuTensor;
  readonly rows: GpuIndices;
  readonly edits: GpuIndices;
  readonly sampled: GpuTensor;
  readonly out: GpuTensor;
}

export interface TakeSampledOperation {
  readonly type: 'takeSampled';
  readonly tokenIds: GpuIndices;
  readonly slots: GpuIndices;
  readonly sampled: GpuTensor;
  readonly out: { readonly tokenIds: GpuIndices; readonly slots: GpuIndices };
}

/** What is a command already. */
export interface CommandOperation {
  readonly type: 'command';
  readonly command: Command;
}

/** Tokens that the scan takes at once. */
export const CHUNK = 128;

/**
 * The sequences of a packed batch, for the host and the device: `count` times (begin, end, slot, whether it starts from
 * the slot's state), then the sequence of each row, then `chunks` times (begin, end, sequence, 0) of at most {@link CHUNK}
 * tokens, then each sequence's first chunk and how many it has.
 */
export interface SequenceTable {
  readonly count: number;
  readonly rows: number;
  readonly chunks: number;
  /** Where the chunks begin in the table. */
  readonly chunks0: number;
  /** Where the sequences' chunks begin in it. */
  readonly ranges0: number;
  /** Tokens of the longest sequence. */
  readonly longest: number;
  readonly table: GpuIndices;
}
