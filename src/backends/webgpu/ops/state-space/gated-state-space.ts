import { covers, type GpuTensor } from '../../device/gpu-tensor.ts';
import type { Fusion } from '../../graph/fuse.ts';
import { float16Rows, type Lowering, MAX_GROUPS, place } from '../../graph/lowering.ts';
import { defineOperation, lowerParts, type Operation } from '../../graph/operation.ts';
import type { ShortUpdateShape } from '../../launch/launch-parameters.ts';
import { prefetchOf } from '../../linear/prefetch.ts';
import { ADDING_SUBGROUPS, NORM_LINEAR, type NormLinear, slicedProduct } from '../linear/norm-linear.ts';
import { SILU_GATE } from '../rows/elementwise.ts';
import { lowerChunkedScan, MAMBA_CHUNK_SCAN, type Scan } from './mamba-chunk-scan.ts';
import { SELECTIVE_STATE_UPDATE, type StateUpdate } from './selective-state-update.ts';
import { stateConstants } from './state-space.ts';

/** A recurrence and the gate that follows it. */
interface Gated {
  /** Multiplies the result by silu(z). */
  readonly z: GpuTensor;
  readonly out: GpuTensor;
  /** The operations that this is made of. */
  readonly parts: readonly Operation[];
}

/** out = mambaChunkScan(...) * silu(z) */
const GATED_SCAN = defineOperation<Gated & { readonly scan: Scan }>({
  name: 'gatedScan',
  lower: (lowering, operation) => {
    const { scan, z, out, parts } = operation;
    if (!lowerChunkedScan(lowering, { ...scan, out }, z)) lowerParts(lowering, operation, parts);
  },
});

interface GatedUpdate extends Gated {
  readonly update: StateUpdate;
}

/** out = selectiveStateUpdate(...) * silu(z) */
const GATED_STATE_UPDATE = defineOperation<GatedUpdate>({
  name: 'gatedStateUpdate',
  lower: (lowering, operation) => {
    const shape = updateShape(lowering, operation);
    if (shape) lowerGatedStateUpdate(lowering, operation, shape);
    else lowerParts(lowering, operation, operation.parts);
  },
});

/** Layout of state-update-gate, or undefined if none fits. */
function updateShape(lowering: Lowering, { update, z }: GatedUpdate): ShortUpdateShape | undefined {
  const { x, dt, A, B, C, D, dtBias, states, stateDType, stateShape, slots, rounding } = update;
  const T = x.shape[0];
  const [H, P, N] = stateShape;
  const { stateUpdate, shortStateUpdate } = lowering.launch;
  const shapes =
    stateDType === 'float32' ? stateUpdate.map((shape) => ({ ...shape, fours: 1 as const })) : shortStateUpdate;
  const isLaidOut =
    T <= MAX_GROUPS &&
    // Kernels are made for where x begins: not for rows after a number of others that varies.
    x.offset < x.stride &&
    [A, D, dtBias].every((tensor) => tensor?.shape.length === 1 && tensor.stride === 1) &&
    slots !== undefined &&
    // The layer's key would be compiled in: a kernel for each layer.
    rounding === undefined &&
    dt.shape.length === 2 &&
    [B, C].every(({ storage, stride }) => storage === x.storage && stride === x.stride) &&
    [x, B, C].every(({ offset, stride }) => offset % 4 === 0 && stride % 4 === 0) &&
    z.storage === dt.storage &&
    z.stride === dt.stride &&
    states.parts.every(({ tensor }) => tensor.offset % 4 === 0 && tensor.stride % 4 === 0) &&
    Number.isInteger(Math.log2(N / 4));
  if (!isLaidOut) return undefined;
  return shapes.find(({ maxRows, channels, threads, fours }) => {
    const lanes = N / (4 * fours);
    return (
      T <= maxRows &&
      threads <= lowering.gpu.limits.maxComputeInvocationsPerWorkgroup &&
      lanes <= threads &&
      channels <= lanes &&
      // A workgroup's channels lie in as many whole heads as there are, an invocation's in one.
      P % channels === 0 &&
      (H * P) % ((threads / lanes) * channels) === 0
    );
  });
}

function lowerGatedStateUpdate(
  lowering: Lowering,
  operation: Operation<GatedUpdate>,
  { channels, threads, fours, prefetchedBytes }: ShortUpdateShape,
): void {
  const { update, z, out } = operation;
  const { x, dt, A, B, C, D, dtBias, dtSoftplus, dtLimit, nGroups, states, stateShape, slots } = update;
  const { nothing, handover, gpu } = lowering;
  const T = x.shape[0];
  const [H, P, N] = stateShape;
  const lanes = N / (4 * fours);
  const { subgroupMinSize, subgroupMaxSize } = gpu.info;
  const hasSubgroups = gpu.features.has('subgroups') && subgroupMinSize === subgroupMaxSize;
  const PAIRED = fours === 2 && hasSubgroups && subgroupMinSize === 2 * lanes;
  const consumer = channels % 2 === 0 ? consumerOfHalves(lowering, operation) : undefined;
  // Two channels' squares are one sum.
  const pieces = (H * P) / 2;
  const rows = consumer && {
    storage: float16Rows(lowering, T, H * P),
    squares: { storage: lowering.scratch([T, pieces]).storage, pieces },
  };
  const across = (H * P) / ((threads / lanes) * channels);
  const next = handover.after(operation);
  const weight = NORM_LINEAR.matches(next) ? next.weight : undefined;
  const prefetch = prefetchOf(lowering, weight, prefetchedBytes, threads);
  for (const { firstRow, tensor } of states.parts) {
    lowering.dispatch('state-update-gate', {
      constants: {
        P,
        N,
        ...stateConstants(lowering, update.stateDType),
        CHANNELS: channels,
        THREADS: threads,
        FOURS: fours,
        WIDE: fours === 2,
        SUBGROUPS: PAIRED || (hasSubgroups && subgroupMinSize === lanes),
        PAIRED,
        WHOLE: states.parts.length === 1,
        ROW: H * P,
        HEADS_PER_GROUP: H / nGroups,
        SOFTPLUS: dtSoftplus,
        HALVES: Boolean(rows),
        PREFETCHED: prefetch.vectors,
      },
      bindings: {
        xBC: x.storage,
        projected: dt.storage,
        A: A.storage,
        D: D?.storage ?? nothing,
        dtBias: dtBias?.storage ?? nothing,
        slots: slots?.storage ?? nothing,
        states: tensor.storage,
        out: rows?.storage ?? out.storage,
        squares: rows?.squares.storage ?? nothing,
        normWeight: consumer?.norm.weight.storage ?? nothing,
        ...prefetch.bindings,
      },
      fixed: {
        dtLow: dtLimit[0],
        dtHigh: dtLimit[1],
        firstSlot: firstRow,
        slotCount: tensor.shape[0],
        xOffset: x.offset,
        bOffset: B.offset,
        cOffset: C.offset,
        rowStride: x.stride,
        dtOffset: dt.offset,
        ...place('z', z),
        aOffset: A.offset,
        dOffset: D?.offset ?? 0,
        biasOffset: dtBias?.offset ?? 0,
        ...place('states', tensor),
        ...place('out', out),
        normOffset: consumer?.norm.weight.offset ?? 0,
      },
      workgroups: [across, T, 1 + Math.ceil(prefetch.workgroups / (across * T))],
    });
  }
  if (consumer && rows) handover.giveRows(consumer, rows);
}

/**
 * The layer that follows, if it takes its rows as float16 that are not divided by their norm; the dispatch that adds up
 * the layer's slices then divides by the norm.
 */
function consumerOfHalves(lowering: Lowering, operation: Operation<GatedUpdate>): Operation<NormLinear> | undefined {
  const next = lowering.handover.after(operation);
  const isConsumer =
    NORM_LINEAR.matches(next) &&
    next.isOnlyReader &&
    covers(operation.out, next.x) &&
    lowering.gpu.limits.maxStorageBuffersPerShaderStage >= 10 &&
    ADDING_SUBGROUPS % next.norm.groups === 0 &&
    slicedProduct(lowering, next) !== undefined;
  return isConsumer ? next : undefined;
}

/** The recurrence, or one step of it, and the gate that follows. */
export const fuseGatedStateSpace: Fusion = (operations, at, uses) => {
  const [stateSpace, gate] = operations.slice(at, at + 2);
  const isScan = MAMBA_CHUNK_SCAN.matches(stateSpace);
  if (!SILU_GATE.matches(gate) || !(isScan || SELECTIVE_STATE_UPDATE.matches(stateSpace))) return undefined;
  if (!covers(stateSpace.out, gate.x) || !uses.isOnlyReadBy(stateSpace.out, gate)) return undefined;
  const gated = { z: gate.y, out: gate.out, parts: [stateSpace, gate] };
  const operation = isScan
    ? GATED_SCAN.of({ ...gated, scan: stateSpace })
    : GATED_STATE_UPDATE.of({ ...gated, update: stateSpace });
  return { operation, count: 2 };
};
