import type { Tensor } from '../../../../tensor/tensor.ts';
import type { LinearWeight } from '../../../contract/linear.ts';
import type { GpuTensor } from '../../device/gpu-tensor.ts';
import { defineOperation } from '../../graph/operation.ts';
import { lowerMatrix, lowerPlain, lowerTiles, lowerVector, toFloat16 } from '../../linear/linear-kernels.ts';
import { linearRoute } from '../../linear/linear-route.ts';
import { isEvenlyPlaced, type Linear, plainTask } from '../../linear/linear-task.ts';
import { gpuWeight } from '../../linear/linear-weight.ts';
import type { Calls } from '../calls.ts';

export const LINEAR = defineOperation<Linear>({
  name: 'linear',
  rowOperands: ['x', 'out'],
  lower: (lowering, operation) => {
    const task = plainTask(operation);
    const route = linearRoute(lowering, task);
    if (route?.kernel === 'vector') lowerVector(lowering, task, route.shape);
    else if (route?.kernel === 'matrix') lowerMatrix(lowering, task, toFloat16(lowering, task));
    else if (isEvenlyPlaced(task)) lowerTiles(lowering, task);
    else lowerPlain(lowering, task);
  },
});

export function linear(calls: Calls, x: Tensor, weight: LinearWeight, bias?: Tensor): GpuTensor {
  const own = gpuWeight(calls.owner, weight);
  const input = calls.floats(x, 'x', [null, own.inFeatures]);
  const added = calls.optional(bias, 'bias', [own.outFeatures]);
  return calls.make(LINEAR, [x.shape[0], own.outFeatures], { x: input, weight: own, bias: added });
}
