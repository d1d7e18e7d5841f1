import type { Tensor } from '../../../../tensor/tensor.ts';
import { checkRowNumbers } from '../../../contract/rows.ts';
import type { GpuIndices, GpuTensor } from '../../device/gpu-tensor.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Calls } from '../calls.ts';
import { dispatchCopy } from './copy-rows.ts';

const GATHER_ROWS = defineOperation<{ readonly x: GpuTensor; readonly rows: GpuIndices; readonly out: GpuTensor }>({
  name: 'gatherRows',
  lower: (lowering, { x, rows, out }) => dispatchCopy(lowering, x, rows, out.shape, out),
});

export function gatherRows(calls: Calls, x: Tensor, rows: Tensor): GpuTensor {
  const from = calls.floats(x, 'x', [null, null]);
  const indices = calls.indices(rows, 'rows', null);
  const [T, C] = x.shape;
  checkRowNumbers(indices.data, T);
  return calls.make(GATHER_ROWS, [indices.data.length, C], { x: from, rows: indices });
}
