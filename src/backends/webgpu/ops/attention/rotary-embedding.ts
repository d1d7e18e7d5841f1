import type { Tensor } from '../../../../tensor/tensor.ts';
import { checkRotary } from '../../../contract/attention.ts';
import type { GpuTensor } from '../../device/gpu-tensor.ts';
import { elementGrid, place } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Calls } from '../calls.ts';

const ROTARY_EMBEDDING = defineOperation<{
  readonly x: GpuTensor;
  readonly angles: GpuTensor;
  readonly headDim: number;
  readonly out: GpuTensor;
}>({
  name: 'rotaryEmbedding',
  rowOperands: ['x', 'angles', 'out'],
  lower: (lowering, { x, angles, headDim, out }) => {
    const [T, C] = out.shape;
    lowering.dispatch('rotary-embedding', {
      bindings: { x: x.storage, angles: angles.storage, out: out.storage },
      params: {
        T,
        C,
        headDim,
        half: angles.shape[1] / 2,
        ...place('x', x),
        ...place('angles', angles),
        ...place('out', out),
      },
      workgroups: elementGrid(C, T),
    });
  },
});

export function rotaryEmbedding(calls: Calls, x: Tensor, table: Tensor, headDim: number): GpuTensor {
  const [T, C] = x.shape;
  const input = calls.floats(x, 'x', [null, null]);
  const angles = calls.floats(table, 'table', [T, null]);
  checkRotary(C, table.shape[1], headDim);
  return calls.make(ROTARY_EMBEDDING, x.shape, { x: input, angles, headDim });
}
