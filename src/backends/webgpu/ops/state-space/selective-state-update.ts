import { checkSlots, slotsOrDefault } from '../../../contract/sequences.ts';
import type { SelectiveStateUpdateArgs } from '../../../contract/state-space.ts';
import type { GpuIndices, GpuTensor } from '../../device/gpu-tensor.ts';
import { elementGrid, place } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Calls } from '../calls.ts';
import { checkStateSpace, enqueueGated, type StateSpace, stateSpaceRun } from './state-space.ts';

export interface StateUpdate extends StateSpace {
  readonly slots: GpuIndices | undefined;
}

export const SELECTIVE_STATE_UPDATE = defineOperation<StateUpdate>({
  name: 'selectiveStateUpdate',
  lower: (lowering, operation) => {
    const { x, states, slots } = operation;
    const rows = x.shape[0];
    const [, H, P, N] = states.shape;
    const { bindings, params } = stateSpaceRun(lowering, operation);
    for (const { firstRow, tensor } of states.parts) {
      lowering.dispatch('selective-state-update', {
        bindings: { ...bindings, slots: slots?.storage ?? lowering.nothing, states: tensor.storage },
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

export function selectiveStateUpdate(calls: Calls, args: SelectiveStateUpdateArgs): GpuTensor {
  const rows = args.x.shape[0];
  const states = calls.floats(args.state, 'state', [null, null, null, null]);
  const { z, ...operands } = checkStateSpace(calls, args, states);
  const slots = args.stateBatchIndices && calls.indices(args.stateBatchIndices, 'stateBatchIndices', rows);
  checkSlots(slotsOrDefault(slots, 'stateBatchIndices', rows), states.shape[0], 'stateBatchIndices');
  return enqueueGated(calls, args.out, { ...operands, z }, (x, out) =>
    calls.enqueue(SELECTIVE_STATE_UPDATE, { ...operands, x, slots, out }),
  );
}
