import type { GatedStateSpaceOperation, NormLinearOperation } from './fused-operation.ts';
import { covers } from './gpu-tensor.ts';
import { slicedProduct } from './linear-route.ts';
import { lowerChunkedScan } from './lower-chunked-scan.ts';
import { float16Rows, type Lowering, place } from './lowering.ts';
import type { StateUpdateOperation } from './operation.ts';
import { prefetchOf } from './prefetch.ts';
import { type UpdateShape, updateShape } from './state-update-shape.ts';

/** → false where its parts must do. */
export function lowerGatedStateSpace(lowering: Lowering, operation: GatedStateSpaceOperation): boolean {
  const { stateSpace, gate } = operation;
  if (stateSpace.type === 'mambaChunkScan') {
    return lowerChunkedScan(lowering, { ...stateSpace, out: gate.out }, gate.y);
  }
  const shape = updateShape(lowering, operation);
  if (shape) lowerGatedStateUpdate(lowering, operation, stateSpace, shape);
  return shape !== undefined;
}

function lowerGatedStateUpdate(
  lowering: Lowering,
  operation: GatedStateSpaceOperation,
  stateSpace: StateUpdateOperation,
  { channels, threads }: UpdateShape,
): void {
  const { x, dt, A, B, C, D, dtBias, dtSoftplus, dtLimit, nGroups, states, slots } = stateSpace;
  const { y: z, out } = operation.gate;
  const { nothing, handover, gpu } = lowering;
  const T = x.shape[0];
  const [, H, P, N] = states.shape;
  const lanes = N / 4;
  const { subgroupMinSize, subgroupMaxSize } = gpu.info;
  const SUBGROUPS = gpu.features.has('subgroups') && subgroupMinSize === lanes && subgroupMaxSize === lanes;
  const WHOLE = states.parts.length === 1 && states.offset === 0 && states.stride === H * P * N;
  const convolution = handover.convolutionOf(operation);
  const consumer = channels === 2 ? consumerOfHalves(lowering, operation) : undefined;
  // Two channels' squares are one sum.
  const halves = consumer && float16Rows(lowering, T, H * P, 4 * T * ((H * P) / 2));
  const squares = { offset: 8 * Math.ceil(T / 16) * H * P, pieces: (H * P) / 2 };
  const across = (H * P) / ((threads / lanes) * channels);
  const prefetch = prefetchOf(
    lowering,
    T <= lowering.launch.prefetchByUpdateUpTo ? handover.after(operation) : undefined,
    threads,
  );
  for (const { firstRow, tensor } of states.parts) {
    lowering.dispatch(
      'state-update-gate',
      {
        ...{ P, N, CHANNELS: channels, THREADS: threads, SUBGROUPS, WHOLE, STATE: H * P * N },
        ...{ CONV: Boolean(convolution), HALVES: Boolean(halves), SQUARES: halves ? squares.offset : 0 },
        ...{ PREFETCHED: prefetch.vectors, T: prefetch.vectors > 0 ? T : 0 },
      },
      {
        bindings: {
          ...{ xBC: x.storage, projected: dt.storage, A: A.storage, D: D?.storage ?? nothing },
          ...{ dtBias: dtBias?.storage ?? nothing, slots: slots?.storage ?? nothing, states: tensor.storage },
          ...{ out: halves ?? out.storage, normWeight: consumer?.norm.weight.storage ?? nothing },
          ...prefetch.bindings,
          convWeight: convolution?.weight.storage ?? nothing,
          convBias: convolution?.bias?.storage ?? nothing,
          convStates: convolution?.states.storage ?? nothing,
        },
        params: {
          ...{ headsPerGroup: H / nGroups, softplus: dtSoftplus ? 1 : 0, dtLow: dtLimit[0], dtHigh: dtLimit[1] },
          ...{ firstSlot: firstRow, slotCount: tensor.shape[0] },
          ...{ xOffset: x.offset, bOffset: B.offset, cOffset: C.offset, rowStride: x.stride, dtOffset: dt.offset },
          ...{ ...place('z', z), ...place('a', A), ...place('d', D), ...place('bias', dtBias) },
          ...{ ...place('states', tensor), ...place('out', out), normOffset: consumer?.norm.weight.offset ?? 0 },
          ...{ rawOffset: convolution?.x.offset ?? 0, ...place('convStates', convolution?.states) },
          convWeightOffset: convolution?.weight.offset ?? 0,
          convBiasOffset: convolution?.bias?.offset ?? 0,
          silu: convolution?.activation === 'silu' || convolution?.activation === 'swish' ? 1 : 0,
        },
        workgroups: [across, T + Math.ceil(prefetch.workgroups / across), 1],
      },
    );
  }
  if (consumer && halves) handover.giveRows(consumer, { storage: halves, squares });
}

/** The layer behind, if it takes its rows as float16 that are not divided by their norm: who adds up slices does that. */
function consumerOfHalves(lowering: Lowering, operation: GatedStateSpaceOperation): NormLinearOperation | undefined {
  const next = lowering.handover.after(operation);
  const isConsumer =
    next?.type === 'normLinear' &&
    next.isOnlyReader &&
    covers(operation.gate.out, next.x) &&
    lowering.gpu.limits.maxStorageBuffersPerShaderStage >= 9 &&
    slicedProduct(lowering, next) !== undefined;
  return isConsumer ? next : undefined;
}
