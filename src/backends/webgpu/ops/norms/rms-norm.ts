import type { Tensor } from '../../../../tensor/tensor.ts';
import type { GpuTensor } from '../../device/gpu-tensor.ts';
import { place, ROW_THREADS, rowGrid } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Calls } from '../calls.ts';

export const RMS_NORM = defineOperation<{
  readonly x: GpuTensor;
  readonly weight: GpuTensor;
  readonly eps: number;
  readonly out: GpuTensor;
}>({
  name: 'rmsNorm',
  rowOperands: ['x', 'out'],
  lower: (lowering, { x, weight, eps, out }) => {
    const [T, C] = out.shape;
    lowering.dispatch('rms-norm', {
      constants: { THREADS: ROW_THREADS },
      bindings: { x: x.storage, weight: weight.storage, out: out.storage },
      params: { T, C, eps, ...place('x', x), ...place('weight', weight), ...place('out', out) },
      workgroups: rowGrid(1, T),
    });
  },
});

export function rmsNorm(calls: Calls, x: Tensor, weight: Tensor, eps: number): GpuTensor {
  const input = calls.floats(x, 'x', [null, null]);
  return calls.make(RMS_NORM, x.shape, { x: input, weight: calls.floats(weight, 'weight', [x.shape[1]]), eps });
}
