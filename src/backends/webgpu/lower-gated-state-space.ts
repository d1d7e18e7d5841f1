import type { GatedStateSpaceOperation } from './fused-operation.ts';
import type { GpuTensor } from './gpu-tensor.ts';
import { lowerChunkedScan } from './lower-chunked-scan.ts';
import { type Lowering, MAX_GROUPS, place } from './lowering.ts';
import type { StateUpdateOperation } from './operation.ts';

/** → false where its parts must do. */
export function lowerGatedStateSpace(lowering: Lowering, { stateSpace, gate }: GatedStateSpaceOperation): boolean {
  return stateSpace.type === 'mambaChunkScan'
    ? lowerChunkedScan(lowering, { ...stateSpace, out: gate.out }, gate.y)
    : lowerGatedStateUpdate(lowering, stateSpace, gate.y, gate.out);
}

function lowerGatedStateUpdate(
  lowering: Lowering,
  { x, dt, A, B, C, D, dtBias, dtSoftplus, dtLimit, nGroups, states, slots }: StateUpdateOperation,
  z: GpuTensor,
  out: GpuTensor,
): boolean {
  const T = x.shape[0];
  const [, H, P, N] = states.shape;
  const lanes = N / 4;
  const { channels, threads } =
    lowering.launch.stateUpdate.find(({ maxRows }) => T <= maxRows) ?? lowering.launch.stateUpdate[0];
  const ofWorkgroup = (threads / lanes) * channels;
  const { subgroupMinSize, subgroupMaxSize } = lowering.gpu.info;
  const applies =
    T <= MAX_GROUPS &&
    [A, D, dtBias].every((tensor) => tensor?.shape.length === 1) &&
    dt.shape.length === 2 &&
    [B, C].every(({ storage, stride }) => storage === x.storage && stride === x.stride) &&
    z.storage === dt.storage &&
    z.stride === dt.stride &&
    states.parts.every(({ tensor }) => tensor.offset % 4 === 0 && tensor.stride % 4 === 0) &&
    Number.isInteger(Math.log2(lanes)) &&
    lanes <= threads &&
    channels <= lanes &&
    // A workgroup's channels lie in as many whole heads as there are, an invocation's in one.
    P % channels === 0 &&
    (H * P) % ofWorkgroup === 0;
  if (!applies || !D || !dtBias || !slots) return false;
  const SUBGROUPS =
    lowering.gpu.features.has('subgroups') &&
    subgroupMinSize === lanes &&
    subgroupMaxSize === lanes &&
    lanes <= threads;
  const WHOLE = states.parts.length === 1 && states.offset === 0 && states.stride === H * P * N;
  for (const { firstRow, tensor } of states.parts) {
    lowering.dispatch(
      'state-update-gate',
      { P, N, CHANNELS: channels, THREADS: threads, SUBGROUPS, WHOLE, STATE: H * P * N },
      {
        bindings: {
          ...{ xBC: x.storage, projected: dt.storage, A: A.storage, D: D.storage, dtBias: dtBias.storage },
          ...{ slots: slots.storage, states: tensor.storage, out: out.storage },
        },
        params: {
          ...{ headsPerGroup: H / nGroups, softplus: dtSoftplus ? 1 : 0, dtLow: dtLimit[0], dtHigh: dtLimit[1] },
          ...{ firstSlot: firstRow, slotCount: tensor.shape[0] },
          ...{ xOffset: x.offset, bOffset: B.offset, cOffset: C.offset, rowStride: x.stride, dtOffset: dt.offset },
          ...{ ...place('z', z), ...place('a', A), ...place('d', D), ...place('bias', dtBias) },
          ...{ ...place('states', tensor), ...place('out', out) },
        },
        workgroups: [(H * P) / ofWorkgroup, T, 1],
      },
    );
  }
  return true;
}
