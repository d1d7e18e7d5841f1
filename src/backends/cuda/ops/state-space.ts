import { ArgumentError } from '../../../errors.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import { checkQueryStartLoc, checkSlots, headsPerGroup, slotsOrDefault } from '../../contract/sequences.ts';
import { checkShape } from '../../contract/shapes.ts';
import {
  type ChunkScanArgs,
  checkChunkSize,
  checkReplay,
  checkReplayedStep,
  type LogDecayArgs,
  type Replay,
  type SelectiveStateArgs,
  type SelectiveStateUpdateArgs,
  type StochasticRounding,
  type TakeReplayedArgs,
} from '../../contract/state-space.ts';
import { type CudaCalls, elementGrid, flag } from '../device/cuda-calls.ts';
import { CudaState, type CudaTensor } from '../device/cuda-tensor.ts';
import type { StateSpaceParams } from '../kernels/kernels.generated.ts';
import { type ScannedSequences, scanChunks } from './chunk-scan.ts';
import { STATE_SIZES } from './replay-steps.ts';
import { checkSequences } from './sequences.ts';

/** Channels of a head that a block of state_update, of state_scan and of state_scan_few has. */
const UPDATE_CHANNELS = 32;
const SCAN_CHANNELS = 16;
const FEW_SCAN_CHANNELS = 8;
/** Blocks of state_scan for each multiprocessor up to which state_scan_few is faster: 1.5 with 48 heads of 64 channels on an H200. */
const FEW_SCANS = 1.5;

export function mambaChunkScan(calls: CudaCalls, args: ChunkScanArgs): CudaTensor {
  checkChunkSize(args.chunkSize);
  const { parameters, size, out } = checkStateSpace(calls, args, args.ssmStates);
  const { rows, H, P } = parameters;
  const { count, ...found } = checkSequences(calls, args, rows, args.ssmStates.shape[0]);
  const places = { ...found, ...roundingOf(calls, args, args.ssmStates, count) };
  if (out.isEmpty) return out;
  const own = { ...parameters, ...places, keepState: flag(args.keepState ?? true) };
  if (!size) {
    calls.device.launch('state_any', { blocks: [count * P, H], threads: 32 }, own);
    return out;
  }
  const isShort = args.ssmStates instanceof CudaState;
  const areFew = Math.ceil(P / SCAN_CHANNELS) * H * count <= FEW_SCANS * calls.device.info.multiprocessors;
  const scan = (stretch: StateSpaceParams) => {
    const isFew = areFew && !isShort && size !== 256;
    const blocks = [Math.ceil(P / (isFew ? FEW_SCAN_CHANNELS : SCAN_CHANNELS)), H, count] as const;
    const name = isFew ? (`state_scan_few_${size}` as const) : nameOf('scan', size, args.ssmStates);
    calls.device.launch(name, { blocks, threads: 128 }, stretch);
  };
  const chunked = chunkedSequences(calls, args, count);
  if (!chunked || !scanChunks(calls, own, size, chunked, scan)) scan(own);
  return out;
}

/** The sequences of a scan whose whole chunks go to tensor cores, where that is allowed. */
function chunkedSequences(calls: CudaCalls, args: ChunkScanArgs, count: number): ScannedSequences | undefined {
  if (calls.matmulPrecision !== 'medium' || !args.positions || args.keepState === false) return undefined;
  return {
    starts: calls.indices(args.queryStartLoc, 'queryStartLoc', null),
    slots: args.cacheIndices && calls.indices(args.cacheIndices, 'cacheIndices', count),
    positions: calls.indices(args.positions, 'positions', count),
  };
}

export function selectiveStateUpdate(calls: CudaCalls, args: SelectiveStateUpdateArgs): CudaTensor {
  const { parameters, size, out } = checkStateSpace(calls, args, args.state);
  const { rows, H, P } = parameters;
  const slots = args.stateBatchIndices && calls.indices(args.stateBatchIndices, 'stateBatchIndices', rows);
  checkSlots(slotsOrDefault(slots, 'stateBatchIndices', rows), args.state.shape[0], 'stateBatchIndices');
  if (out.isEmpty) return out;
  const own = { ...parameters, slots: slots?.address, ...roundingOf(calls, args, args.state, rows) };
  if (args.replay) {
    checkReplayedStep(args.dt);
    const replay = replayOf(calls, args.replay, args.state, rows, slots, H / parameters.headsPerGroup);
    launchReplay(calls, { ...own, ...replay }, size, args.state);
  } else if (size) {
    const blocks = [rows * Math.ceil(P / UPDATE_CHANNELS), H] as const;
    calls.device.launch(nameOf('update', size, args.state), { blocks, threads: 128 }, own);
  } else {
    calls.device.launch('state_any', { blocks: [rows * P, H], threads: 32 }, own);
  }
  return out;
}

/** See ReplayOps. */
export function takeReplayed(calls: CudaCalls, args: TakeReplayedArgs): void {
  const { state } = args;
  const rows = args.replay.counts.shape[0];
  checkShape(state, 'state', [null, null, null, null]);
  const states = wordsOf(calls, state);
  const [S, H, P, N] = state.shape;
  const slots = args.stateBatchIndices && calls.indices(args.stateBatchIndices, 'stateBatchIndices', rows);
  checkSlots(slotsOrDefault(slots, 'stateBatchIndices', rows), S, 'stateBatchIndices');
  const { groups, ...replay } = replayOf(calls, args.replay, state, rows, slots);
  const A = calls.floats(args.A, 'A', [H]);
  const dtBias = calls.optional(args.dtBias, 'dtBias', [H]);
  if (rows === 0) return;
  const own = {
    ...NOTHING,
    ...stepSizes(args),
    ...{ A, dtBias, hasBias: flag(dtBias), states: states.address, stateStride: states.stride, slots: slots?.address },
    ...{ rows, H, P, N, headsPerGroup: headsPerGroup(H, groups) },
    ...replay,
    ...roundingOf(calls, args, state, rows),
  };
  launchReplay(calls, own, states.isAligned ? STATE_SIZES.find((known) => known === N) : undefined, state);
}

/** The kept tokens as kernels take them. */
function replayOf(
  calls: CudaCalls,
  replay: Replay,
  state: Tensor,
  rows: number,
  slots: Tensor | undefined,
  nGroups?: number,
) {
  const { most, groups } = checkReplay(replay, state, rows, slots, nGroups);
  const replayed = calls.floats(replay.inputs, 'inputs', [null, null]);
  const replayCounts = calls.indices(replay.counts, 'counts', rows).address;
  return { groups, replayed, replayCounts, mostReplayed: most };
}

function launchReplay(
  calls: CudaCalls,
  parameters: StateSpaceParams,
  size: (typeof STATE_SIZES)[number] | undefined,
  state: Tensor,
): void {
  if (!size) {
    throw new ArgumentError(
      `A state of ${parameters.N} columns is to be replayed, or rates or steps that differ within a head.`,
      `There are kernels for ${STATE_SIZES.join(', ')} columns, and one rate for each head.`,
    );
  }
  const { rows, H, P, N, mostReplayed } = parameters;
  const blocks = [rows * Math.ceil(P / UPDATE_CHANNELS), H] as const;
  const sharedBytes = 4 * mostReplayed * (N + UPDATE_CHANNELS);
  calls.device.launch(nameOf('replay', size, state), { blocks, threads: 128, sharedBytes }, parameters);
}

export function logDecaySums(calls: CudaCalls, args: LogDecayArgs): CudaTensor {
  const dt = calls.floats(args.dt, 'dt', [null, null]);
  const [rows, H] = dt.shape;
  const starts = args.queryStartLoc && calls.indices(args.queryStartLoc, 'queryStartLoc', null);
  const count = starts ? checkQueryStartLoc(starts, rows).length - 1 : rows;
  const A = calls.floats(args.A, 'A', [H]);
  const dtBias = calls.optional(args.dtBias, 'dtBias', [H]);
  const out = calls.target(args.out, [count, H]);
  calls.device.launch('log_decay_sums', elementGrid(count, H), {
    ...NOTHING,
    ...stepSizes(args),
    ...{ dt, A, dtBias, hasBias: flag(dtBias), dtHead: 1, out, starts: starts?.address, rows: count, H },
  });
  return out;
}

/** Parameters of kernels without any operands. */
const NOTHING: StateSpaceParams = {
  ...{ x: undefined, z: undefined, B: undefined, C: undefined, dt: undefined, A: undefined, D: undefined },
  ...{ dtBias: undefined, out: undefined, states: undefined, stateStride: 0 },
  ...{
    starts: undefined,
    slots: undefined,
    hasInitialState: undefined,
    keepState: 1,
    rows: 0,
    H: 0,
    P: 0,
    N: 0,
    headsPerGroup: 1,
  },
  ...{ replayed: undefined, replayCounts: undefined, mostReplayed: 0 },
  ...{ chunkHalves: undefined, chunkProducts: undefined, chunkSteps: undefined },
  ...{ chunkStates: undefined, chunkPowers: undefined },
  ...{ chunkPositions: undefined, stretch: 0, sequences: 0 },
  ...{ positions: undefined, stateKey: 0, firstRow: 0, stateFormat: 0 },
  ...{ dtHead: 0, dtChannel: 0, aChannel: 0, aState: 0, dChannel: 0, biasChannel: 0 },
  ...{ hasZ: 0, hasD: 0, hasBias: 0, isSoftplus: 0, dtLow: 0, dtHigh: 0 },
};

function stepSizes({
  dtSoftplus,
  dtLimit = [0, Number.POSITIVE_INFINITY],
}: Pick<LogDecayArgs, 'dtSoftplus' | 'dtLimit'>) {
  return { isSoftplus: flag(dtSoftplus), dtLow: dtLimit[0], dtHigh: dtLimit[1] };
}

/** What the scan and the one-step update share, checked; `size` is the state's where a kernel of its own takes the call. */
function checkStateSpace(calls: CudaCalls, args: SelectiveStateArgs, state: Tensor) {
  checkShape(state, 'state', [null, null, null, null]);
  const states = wordsOf(calls, state);
  const [, H, P, N] = state.shape;
  const rows = args.x.shape[0];
  const G = args.nGroups ?? args.B.shape[1] ?? 0;
  const share = headsPerGroup(H, G);
  const xShape = args.x.shape.length === 2 ? [rows, H * P] : [rows, H, P];
  const bcShape = args.B.shape.length === 2 ? [rows, G * N] : [rows, G, N];
  const whole = (x: Tensor | undefined, shape: readonly number[]) =>
    x && x.shape.length > 1 ? shape : shape.slice(0, 1);
  const x = calls.floats(args.x, 'x', xShape);
  const z = calls.optional(args.z, 'z', xShape);
  const dt = calls.floats(args.dt, 'dt', args.dt.shape.length === 3 ? [rows, H, P] : [rows, H]);
  const A = calls.floats(args.A, 'A', whole(args.A, [H, P, N]));
  const B = calls.floats(args.B, 'B', bcShape);
  const C = calls.floats(args.C, 'C', bcShape);
  const D = calls.optional(args.D, 'D', whole(args.D, [H, P]));
  const dtBias = calls.optional(args.dtBias, 'dtBias', whole(args.dtBias, [H, P]));
  const out = calls.target(args.out, xShape);
  const [isChannelDt, isChannelA] = [dt.shape.length === 3, A.shape.length === 3];
  const isChannelBias = dtBias?.shape.length === 2;
  const parameters = {
    ...NOTHING,
    ...stepSizes(args),
    ...{ x, z, B, C, dt, A, D, dtBias, out, states: states.address, stateStride: states.stride },
    ...{ rows, H, P, N, headsPerGroup: share },
    ...{ dtHead: isChannelDt ? P : 1, dtChannel: flag(isChannelDt), biasChannel: flag(isChannelBias) },
    ...{ aChannel: isChannelA ? N : 0, aState: flag(isChannelA), dChannel: flag(D?.shape.length === 2) },
    ...{ hasZ: flag(z), hasD: flag(D), hasBias: flag(dtBias) },
  };
  const isUsual = !isChannelDt && !isChannelA && !isChannelBias && states.isAligned;
  return { parameters, size: isUsual ? STATE_SIZES.find((known) => known === N) : undefined, out };
}

function wordsOf(calls: CudaCalls, state: Tensor): CudaTensor {
  return state instanceof CudaState ? state.words : calls.floats(state, 'state', state.shape);
}

/** Numbers of dtypes in cuda/state-space.cuh. */
const FORMATS = { float16: 1, bfloat16: 2 } as const;

/** The kernel for states of a usual size. */
function nameOf<Kind extends 'scan' | 'update' | 'replay'>(
  kind: Kind,
  size: (typeof STATE_SIZES)[number],
  state: Tensor,
) {
  if (!(state instanceof CudaState)) return `state_${kind}_${size}` as const;
  return `short_${kind}_${size}_${state.dtype === 'float16' ? 'FLOAT16' : 'BFLOAT16'}` as const;
}

/** How states of 16 bits are rounded. */
function roundingOf(
  calls: CudaCalls,
  { rounding }: { readonly rounding?: StochasticRounding | undefined },
  state: Tensor,
  count: number,
) {
  if (!(state instanceof CudaState)) return {};
  const positions = rounding && calls.indices(rounding.positions, 'positions', count).address;
  const { key = 0, firstRow = 0 } = rounding ?? {};
  return { stateFormat: FORMATS[state.dtype], stateKey: key | 0, firstRow, positions };
}
