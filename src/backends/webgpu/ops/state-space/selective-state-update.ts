import { checkSlots, slotsOrDefault } from '../../../contract/sequences.ts';
import type { SelectiveStateUpdateArgs } from '../../../contract/state-space.ts';
import { type GpuIndices, type GpuTensor, Storage } from '../../device/gpu-tensor.ts';
import { elementGrid, type Lowering, place } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Calls } from '../calls.ts';
import { checkStateSpace, enqueueGated, type StateSpace, stateSpaceRun } from './state-space.ts';

export interface StateUpdate extends StateSpace {
  readonly slots: GpuIndices | undefined;
}

export const SELECTIVE_STATE_UPDATE = defineOperation<StateUpdate>({
  name: 'selectiveStateUpdate',
  lower: (lowering, operation) => {
    const { x, states, stateShape, slots, rounding } = operation;
    const rows = x.shape[0];
    const [H, P, N] = stateShape;
    const { constants, bindings, params } = stateSpaceRun(lowering, operation);
    const places = rounding
      ? joined(lowering, slots?.storage, rounding.positions.storage, 4 * rows)
      : (slots?.storage ?? lowering.nothing);
    for (const { firstRow, tensor } of states.parts) {
      lowering.dispatch('selective-state-update', {
        constants,
        bindings: { ...bindings, slots: places, states: tensor.storage },
        params: {
          ...params,
          T: rows,
          N,
          hasSlots: slots ? 1 : 0,
          firstSlot: firstRow,
          slotCount: tensor.shape[0],
          ...place('states', tensor),
        },
        workgroups: elementGrid(H * P, rows),
      });
    }
  },
});

/**
 * Two vectors of so many bytes, one after the other: for another buffer there may be no room among the bindings. The place
 * of an absent first one is left empty.
 */
function joined({ owner, commands }: Lowering, first: Storage | undefined, second: Storage, bytes: number): Storage {
  const to = new Storage(owner, 2 * bytes);
  if (first) commands.push({ type: 'copy', from: first, fromOffset: 0, to, toOffset: 0, bytes });
  commands.push({ type: 'copy', from: second, fromOffset: 0, to, toOffset: bytes, bytes });
  return to;
}

export function selectiveStateUpdate(calls: Calls, args: SelectiveStateUpdateArgs): GpuTensor {
  const rows = args.x.shape[0];
  const { z, ...operands } = checkStateSpace(calls, args, args.state);
  const slots = args.stateBatchIndices && calls.indices(args.stateBatchIndices, 'stateBatchIndices', rows);
  checkSlots(slotsOrDefault(slots, 'stateBatchIndices', rows), args.state.shape[0], 'stateBatchIndices');
  return enqueueGated(calls, args.out, { ...operands, z }, (x, out) =>
    calls.enqueue(SELECTIVE_STATE_UPDATE, { ...operands, x, slots, out }),
  );
}
