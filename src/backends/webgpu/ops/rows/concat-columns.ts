import type { Tensor } from '../../../../tensor/tensor.ts';
import { checkConcat } from '../../../contract/arrays.ts';
import { GpuTensor } from '../../device/gpu-tensor.ts';
import type { Calls } from '../calls.ts';
import { COPY_ROWS } from './copy-rows.ts';

export function concatColumns(calls: Calls, parts: readonly Tensor[]): GpuTensor {
  const [T] = checkConcat(parts);
  const inputs = parts.map((part) => calls.floats(part, 'a part', part.shape));
  const out = calls.arrays.make([T, inputs.reduce((sum, { shape }) => sum + shape[1], 0)]);
  let column = 0;
  for (const x of inputs) {
    const target = new GpuTensor(out.storage, x.shape, out.offset + column, out.stride);
    if (!x.isEmpty) calls.enqueue(COPY_ROWS, { x, out: target });
    column += x.shape[1];
  }
  return out;
}
