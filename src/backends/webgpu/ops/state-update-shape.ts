import { type Lowering, MAX_GROUPS } from '../graph/lowering.ts';
import type { UpdateShape } from '../launch/launch-parameters.ts';
import type { GatedStateSpaceOperation } from './fused-operation.ts';

/** How state-update-gate is laid out, or undefined where it does not fit. */
export function updateShape(
  lowering: Lowering,
  { stateSpace, gate }: GatedStateSpaceOperation,
): UpdateShape | undefined {
  if (stateSpace.type !== 'selectiveStateUpdate') return undefined;
  const { x, dt, A, B, C, D, dtBias, states, slots } = stateSpace;
  const z = gate.y;
  const T = x.shape[0];
  const [, H, P, N] = states.shape;
  const lanes = N / 4;
  const isLaidOut =
    T <= MAX_GROUPS &&
    // Kernels are made for where x begins: not for rows behind a number of others that varies.
    x.offset < x.stride &&
    [A, D, dtBias].every((tensor) => tensor?.shape.length === 1 && tensor.stride === 1) &&
    slots !== undefined &&
    dt.shape.length === 2 &&
    [B, C].every(({ storage, stride }) => storage === x.storage && stride === x.stride) &&
    z.storage === dt.storage &&
    z.stride === dt.stride &&
    states.parts.every(({ tensor }) => tensor.offset % 4 === 0 && tensor.stride % 4 === 0) &&
    Number.isInteger(Math.log2(lanes));
  if (!isLaidOut) return undefined;
  return lowering.launch.stateUpdate.find(
    ({ maxRows, channels, threads }) =>
      T <= maxRows &&
      threads <= lowering.gpu.limits.maxComputeInvocationsPerWorkgroup &&
      lanes <= threads &&
      channels <= lanes &&
      // A workgroup's channels lie in as many whole heads as there are, an invocation's in one.
      P % channels === 0 &&
      (H * P) % ((threads / lanes) * channels) === 0,
  );
}
