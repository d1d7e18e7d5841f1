import type { GpuIndices, GpuTensor } from '../../device/gpu-tensor.ts';
import { elementGrid, type Lowering, place } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';

/** out = x, row by row: rows are entries of the first dimension. */
export const COPY_ROWS = defineOperation<{ readonly x: GpuTensor; readonly out: GpuTensor }>({
  name: 'copyRows',
  rowOperands: ['x', 'out'],
  lower: (lowering, { x, out }) => dispatchCopy(lowering, x, undefined, [x.shape[0] ?? 1, x.rowSize], out),
});

/** Runs copy-rows: T rows of C columns, those that `rows` names or all. */
export function dispatchCopy(
  lowering: Lowering,
  x: GpuTensor,
  rows: GpuIndices | undefined,
  [T, C]: readonly number[],
  out: GpuTensor,
): void {
  lowering.dispatch('copy-rows', {
    constants: { GATHER: rows !== undefined },
    bindings: { x: x.storage, rows: rows?.storage ?? lowering.nothing, out: out.storage },
    params: { T, C, ...place('x', x), ...place('out', out) },
    workgroups: elementGrid(C, T),
  });
}
