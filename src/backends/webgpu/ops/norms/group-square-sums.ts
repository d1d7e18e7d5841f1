import type { Tensor } from '../../../../tensor/tensor.ts';
import { checkGroups, type GroupLayout } from '../../../contract/norms.ts';
import type { GpuTensor } from '../../device/gpu-tensor.ts';
import { place, ROW_THREADS, rowGrid } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Calls } from '../calls.ts';

export const GROUP_SQUARE_SUMS = defineOperation<{
  readonly v: GpuTensor;
  readonly layout: GroupLayout;
  readonly out: GpuTensor;
}>({
  name: 'groupSquareSums',
  rowOperands: ['v', 'out'],
  lower: (lowering, { v, layout: { firstColumn, groupSize }, out }) => {
    const [T, C] = v.shape;
    lowering.dispatch('group-square-sums', {
      constants: { THREADS: ROW_THREADS },
      bindings: { v: v.storage, out: out.storage },
      params: { T, C, firstColumn, groupSize, ...place('v', v), ...place('out', out) },
      workgroups: rowGrid(out.shape[1], T),
    });
  },
});

export function groupSquareSums(calls: Calls, v: Tensor, groups: number, layout: GroupLayout): GpuTensor {
  const values = calls.floats(v, 'v', [null, null]);
  checkGroups(v.shape[1], groups, layout);
  return calls.make(GROUP_SQUARE_SUMS, [v.shape[0], groups], { v: values, layout });
}
