import type { Tensor } from '../../../../tensor/tensor.ts';
import type { GpuTensor } from '../../device/gpu-tensor.ts';
import { elementGrid, place } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Calls } from '../calls.ts';

const SCALE_ROWS = defineOperation<{
  readonly x: GpuTensor;
  readonly squareSums: GpuTensor;
  readonly count: number;
  readonly eps: number;
  readonly out: GpuTensor;
}>({
  name: 'scaleRows',
  rowOperands: ['x', 'squareSums', 'out'],
  lower: (lowering, { x, squareSums, count, eps, out }) => {
    const [T, C] = x.shape;
    lowering.dispatch('scale-rows', {
      bindings: { x: x.storage, squareSums: squareSums.storage, out: out.storage },
      params: { T, C, count, eps, ...place('x', x), ...place('sums', squareSums), ...place('out', out) },
      workgroups: elementGrid(C, T),
    });
  },
});

export function scaleRows(calls: Calls, x: Tensor, squareSums: Tensor, count: number, eps: number): GpuTensor {
  const input = calls.floats(x, 'x', [null, null]);
  const sums = calls.floats(squareSums, 'squareSums', [x.shape[0], 1]);
  return calls.make(SCALE_ROWS, x.shape, { x: input, squareSums: sums, count, eps });
}
