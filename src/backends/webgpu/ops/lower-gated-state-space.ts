import { covers } from '../device/gpu-tensor.ts';
import { float16Rows, type Lowering, place } from '../graph/lowering.ts';
import type { StateUpdateOperation } from '../graph/operation.ts';
import type { UpdateShape } from '../launch/launch-parameters.ts';
import { ADDING_SUBGROUPS, slicedProduct } from '../linear/linear-route.ts';
import { prefetchOf } from '../linear/prefetch.ts';
import type { GatedStateSpaceOperation, NormLinearOperation } from './fused-operation.ts';
import { lowerChunkedScan } from './lower-chunked-scan.ts';
import { updateShape } from './state-update-shape.ts';

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
  { channels, threads, prefetchedBytes }: UpdateShape,
): void {
  const { x, dt, A, B, C, D, dtBias, dtSoftplus, dtLimit, nGroups, states, slots } = stateSpace;
  const { y: z, out } = operation.gate;
  const { nothing, handover, gpu } = lowering;
  const T = x.shape[0];
  const [, H, P, N] = states.shape;
  const lanes = N / 4;
  const { subgroupMinSize, subgroupMaxSize } = gpu.info;
  const SUBGROUPS = gpu.features.has('subgroups') && subgroupMinSize === lanes && subgroupMaxSize === lanes;
  const WHOLE = states.parts.length === 1;
  const consumer = channels === 2 ? consumerOfHalves(lowering, operation) : undefined;
  // Two channels' squares are one sum.
  const pieces = (H * P) / 2;
  const rows = consumer && {
    storage: float16Rows(lowering, T, H * P),
    squares: { storage: lowering.scratch([T, pieces]).storage, pieces },
  };
  const across = (H * P) / ((threads / lanes) * channels);
  const prefetch = prefetchOf(lowering, handover.after(operation), prefetchedBytes, threads);
  for (const { firstRow, tensor } of states.parts) {
    lowering.dispatch(
      'state-update-gate',
      {
        ...{ P, N, CHANNELS: channels, THREADS: threads, SUBGROUPS, WHOLE, ROW: H * P },
        ...{ HEADS_PER_GROUP: H / nGroups, SOFTPLUS: dtSoftplus },
        ...{ HALVES: Boolean(rows), PREFETCHED: prefetch.vectors },
      },
      {
        bindings: {
          ...{ xBC: x.storage, projected: dt.storage, A: A.storage, D: D?.storage ?? nothing },
          ...{ dtBias: dtBias?.storage ?? nothing, slots: slots?.storage ?? nothing, states: tensor.storage },
          ...{ out: rows?.storage ?? out.storage, squares: rows?.squares.storage ?? nothing },
          normWeight: consumer?.norm.weight.storage ?? nothing,
          ...prefetch.bindings,
        },
        fixed: {
          ...{ dtLow: dtLimit[0], dtHigh: dtLimit[1], firstSlot: firstRow, slotCount: tensor.shape[0] },
          ...{ xOffset: x.offset, bOffset: B.offset, cOffset: C.offset, rowStride: x.stride, dtOffset: dt.offset },
          ...{ ...place('z', z), aOffset: A.offset, dOffset: D?.offset ?? 0, biasOffset: dtBias?.offset ?? 0 },
          ...{ ...place('states', tensor), ...place('out', out), normOffset: consumer?.norm.weight.offset ?? 0 },
        },
        workgroups: [across, T, 1 + Math.ceil(prefetch.workgroups / (across * T))],
      },
    );
  }
  if (consumer && rows) handover.giveRows(consumer, rows);
}

/** The layer behind, if it takes its rows as float16 that are not divided by their norm: who adds up slices does that. */
function consumerOfHalves(lowering: Lowering, operation: GatedStateSpaceOperation): NormLinearOperation | undefined {
  const next = lowering.handover.after(operation);
  const isConsumer =
    next?.type === 'normLinear' &&
    next.isOnlyReader &&
    covers(operation.gate.out, next.x) &&
    lowering.gpu.limits.maxStorageBuffersPerShaderStage >= 10 &&
    ADDING_SUBGROUPS % next.norm.groups === 0 &&
    slicedProduct(lowering, next) !== undefined;
  return isConsumer ? next : undefined;
}
