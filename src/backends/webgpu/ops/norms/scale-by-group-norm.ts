import type { Tensor } from '../../../../tensor/tensor.ts';
import { checkGroups, type GroupLayout } from '../../../contract/norms.ts';
import type { GpuTensor } from '../../device/gpu-tensor.ts';
import { elementGrid, place } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Calls } from '../calls.ts';

export const SCALE_BY_GROUP_NORM = defineOperation<{
  readonly v: GpuTensor;
  readonly squareSums: GpuTensor;
  readonly weight: GpuTensor;
  readonly eps: number;
  readonly layout: GroupLayout;
  readonly out: GpuTensor;
}>({
  name: 'scaleByGroupNorm',
  rowOperands: ['v', 'squareSums', 'out'],
  lower: (lowering, { v, squareSums, weight, eps, layout: { firstColumn, groupSize }, out }) => {
    const [T, C] = v.shape;
    lowering.dispatch('scale-by-group-norm', {
      bindings: { v: v.storage, squareSums: squareSums.storage, weight: weight.storage, out: out.storage },
      params: {
        T,
        C,
        eps,
        firstColumn,
        groupSize,
        ...place('v', v),
        ...place('sums', squareSums),
        ...place('weight', weight),
        ...place('out', out),
      },
      workgroups: elementGrid(C, T),
    });
  },
});

export function scaleByGroupNorm(
  calls: Calls,
  v: Tensor,
  squareSums: Tensor,
  weight: Tensor,
  eps: number,
  layout: GroupLayout,
): GpuTensor {
  const [T, C] = v.shape;
  const operands = {
    v: calls.floats(v, 'v', [null, null]),
    squareSums: calls.floats(squareSums, 'squareSums', [T, null]),
    weight: calls.floats(weight, 'weight', [C]),
  };
  checkGroups(C, squareSums.shape[1], layout);
  return calls.make(SCALE_BY_GROUP_NORM, v.shape, { ...operands, eps, layout });
}
