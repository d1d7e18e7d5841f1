import type { Activation } from '../../contract/convolution.ts';
import { GpuTensor } from '../device/gpu-tensor.ts';
import { elementGrid, type Lowering, place } from '../graph/lowering.ts';
import type {
  ConvolutionOperation,
  ConvolutionUpdateOperation,
  LogDecaySumsOperation,
  ScanOperation,
  StateUpdateOperation,
} from '../graph/operation.ts';
import { copyRows } from './lower-rows.ts';

export function lowerConvolution(lowering: Lowering, operation: ConvolutionOperation): void {
  const { x, weight, bias, activation, states, sequences, out } = operation;
  const [T, C] = out.shape;
  const [K, W] = [weight.shape[1], states.shape[2]];
  const table = sequences.table.storage;
  for (const { firstRow, tensor } of states.parts) {
    const slots = { firstSlot: firstRow, slots: tensor.shape[0], ...place('states', tensor) };
    lowering.dispatch(
      'causal-conv1d-fn',
      {},
      {
        bindings: {
          x: x.storage,
          weight: weight.storage,
          bias: bias?.storage ?? lowering.nothing,
          states: tensor.storage,
          sequences: table,
          out: out.storage,
        },
        params: {
          ...{ T, C, K, W, count: sequences.count, silu: isSilu(activation) ? 1 : 0, hasBias: bias ? 1 : 0, ...slots },
          ...place('x', x),
          ...place('weight', weight),
          ...place('bias', bias),
          ...place('out', out),
        },
        workgroups: elementGrid(C, T),
      },
    );
    if (W === 0) continue;
    lowering.dispatch(
      'causal-conv1d-states',
      {},
      {
        bindings: { x: x.storage, sequences: table, states: tensor.storage },
        params: { T: sequences.count, C, W, ...slots, ...place('x', x) },
        workgroups: elementGrid(C, sequences.count),
      },
    );
  }
}

/** The same of four channels at once: see isConvolvedInFours. */
export function lowerConvolutionOfFours(lowering: Lowering, operation: ConvolutionUpdateOperation): void {
  const { x, activation } = operation;
  const [T, , C] = x.shape;
  const ROWS = T >= lowering.launch.convolvedTogetherFrom ? 4 : 1;
  lowering.dispatch(
    'causal-conv1d-fours',
    { SILU: isSilu(activation), ROWS },
    {
      bindings: { x: x.storage, ...convolutionBindings(lowering, operation) },
      params: { T },
      fixed: { ...place('x', x), ...convolutionPlaces(operation) },
      workgroups: elementGrid(C / 4, Math.ceil(T / ROWS)),
    },
  );
}

/** What kernels that convolve by the way are bound to, by the names in convolve.wgsl; nothing, if they do not. */
export function convolutionBindings({ nothing }: Lowering, convolution: ConvolutionUpdateOperation | undefined) {
  return {
    convWeight: convolution?.weight.storage ?? nothing,
    convBias: convolution?.bias?.storage ?? nothing,
    slots: convolution?.slots?.storage ?? nothing,
    convStates: convolution?.states.storage ?? nothing,
    convolved: convolution?.out.storage ?? nothing,
  };
}

/** By the names in convolution-places.wgsl. */
export function convolutionPlaces(convolution: ConvolutionUpdateOperation | undefined) {
  return {
    C: convolution?.x.shape[2] ?? 0,
    ...place('states', convolution?.states),
    convWeightOffset: convolution?.weight.offset ?? 0,
    convBiasOffset: convolution?.bias?.offset ?? 0,
    ...place('convolved', convolution?.out),
  };
}

export function lowerConvolutionUpdate(lowering: Lowering, operation: ConvolutionUpdateOperation): void {
  const { x, weight, bias, activation, states, slots, seen, out } = operation;
  const [T, L, C] = x.shape;
  for (const { firstRow, tensor } of states.parts) {
    lowering.dispatch(
      'causal-conv1d-update',
      {},
      {
        bindings: {
          x: x.storage,
          weight: weight.storage,
          bias: bias?.storage ?? lowering.nothing,
          slots: slots?.storage ?? lowering.nothing,
          seen: seen?.storage ?? lowering.nothing,
          states: tensor.storage,
          out: out.storage,
        },
        params: {
          ...{ T, C, L, K: weight.shape[1], W: states.shape[2] },
          silu: isSilu(activation) ? 1 : 0,
          hasBias: bias ? 1 : 0,
          hasSlots: slots ? 1 : 0,
          isRing: seen ? 1 : 0,
          firstSlot: firstRow,
          slotCount: tensor.shape[0],
          ...place('x', x),
          ...place('weight', weight),
          ...place('bias', bias),
          ...place('states', tensor),
          ...place('out', out),
        },
        workgroups: elementGrid(C, T),
      },
    );
  }
}

export function lowerStateUpdate(lowering: Lowering, operation: StateUpdateOperation): void {
  const rows = operation.x.shape[0];
  const [, H, P, N] = operation.states.shape;
  const { bindings, params } = stateSpaceArguments(lowering, operation);
  const { slots } = operation;
  for (const { firstRow, tensor } of operation.states.parts) {
    lowering.dispatch(
      'selective-state-update',
      {},
      {
        bindings: { ...bindings, slots: slots?.storage ?? lowering.nothing, states: tensor.storage },
        params: {
          ...params,
          ...{ T: rows, N, hasSlots: slots ? 1 : 0, firstSlot: firstRow, slotCount: tensor.shape[0] },
          ...place('states', tensor),
        },
        workgroups: elementGrid(H * P, rows),
      },
    );
  }
}

export function lowerScan(lowering: Lowering, operation: ScanOperation): void {
  const [, H, P, N] = operation.states.shape;
  const { bindings, params } = stateSpaceArguments(lowering, operation);
  const { count, table } = operation.sequences;
  for (const { firstRow, tensor } of operation.states.parts) {
    lowering.dispatch(
      'state-space-scan',
      { N },
      {
        bindings: { ...bindings, sequences: table.storage, states: tensor.storage },
        params: {
          ...params,
          ...{ T: count, firstSlot: firstRow, slotCount: tensor.shape[0] },
          ...place('states', tensor),
        },
        workgroups: elementGrid(H * P, count),
      },
    );
  }
}

export function lowerLogDecaySums(lowering: Lowering, operation: LogDecaySumsOperation): void {
  const { dt, A, dtBias, dtSoftplus, dtLimit, sequences, out } = operation;
  const [T, H] = out.shape;
  lowering.dispatch(
    'log-decay-sums',
    { HAS_SEQUENCES: sequences !== undefined },
    {
      bindings: {
        dt: dt.storage,
        A: A.storage,
        dtBias: dtBias?.storage ?? lowering.nothing,
        out: out.storage,
        ...(sequences && { sequences: sequences.table.storage }),
      },
      params: {
        ...{ T, H, softplus: dtSoftplus ? 1 : 0, dtLow: dtLimit[0], dtHigh: dtLimit[1], hasBias: dtBias ? 1 : 0 },
        ...place('dt', dt),
        ...place('a', A),
        ...place('bias', dtBias),
        ...place('out', out),
      },
      workgroups: elementGrid(H, T),
    },
  );
}

/** What the plain forms of the scan and the one-step update are bound to, but for states and rows. */
function stateSpaceArguments(lowering: Lowering, operation: ScanOperation | StateUpdateOperation) {
  const { dt, A, D, dtBias, dtSoftplus, dtLimit, nGroups, states, out } = operation;
  const [, H, P, N] = states.shape;
  const { x, B, C } = inOneBuffer(lowering, operation);
  const perChannel = (tensor: GpuTensor | undefined, dimensions: number) => tensor?.shape.length === dimensions;
  return {
    bindings: {
      xBC: x.storage,
      dt: dt.storage,
      A: A.storage,
      D: D?.storage ?? lowering.nothing,
      dtBias: dtBias?.storage ?? lowering.nothing,
      out: out.storage,
    },
    params: {
      ...{ H, P, headsPerGroup: H / nGroups, softplus: dtSoftplus ? 1 : 0, dtLow: dtLimit[0], dtHigh: dtLimit[1] },
      ...{ xOffset: x.offset, bOffset: B.offset, cOffset: C.offset, rowStride: x.stride },
      ...place('dt', dt),
      dtHead: perChannel(dt, 3) ? P : 1,
      dtChannel: perChannel(dt, 3) ? 1 : 0,
      aOffset: A.offset,
      aHead: A.stride,
      aChannel: perChannel(A, 3) ? N : 0,
      aState: perChannel(A, 3) ? 1 : 0,
      hasD: D ? 1 : 0,
      dOffset: D?.offset ?? 0,
      dHead: D?.stride ?? 0,
      dChannel: perChannel(D, 2) ? 1 : 0,
      hasBias: dtBias ? 1 : 0,
      biasOffset: dtBias?.offset ?? 0,
      biasHead: dtBias?.stride ?? 0,
      biasChannel: perChannel(dtBias, 2) ? 1 : 0,
      ...place('out', out),
    },
  };
}

/**
 * x, B and C as columns of one buffer with a common stride, as a mixer has them: together with the rest they would be more
 * buffers than every device can bind. What lies elsewhere is copied.
 */
function inOneBuffer(lowering: Lowering, { x, B, C }: Pick<ScanOperation, 'x' | 'B' | 'C'>) {
  const isShared = [B, C].every(({ storage, stride }) => storage === x.storage && stride === x.stride);
  if (isShared) return { x, B, C };
  const rows = x.shape[0];
  const together = lowering.scratch([rows, x.rowSize + B.rowSize + C.rowSize]);
  let column = 0;
  const [ownX, ownB, ownC] = [x, B, C].map((tensor) => {
    const copy = new GpuTensor(together.storage, tensor.shape, column, together.stride);
    column += tensor.rowSize;
    copyRows(lowering, tensor, copy);
    return copy;
  });
  return { x: ownX, B: ownB, C: ownC };
}

export function isSilu(activation: Activation | undefined): boolean {
  return activation === 'silu' || activation === 'swish';
}
