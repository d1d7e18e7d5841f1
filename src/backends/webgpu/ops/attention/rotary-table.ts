import type { Tensor } from '../../../../tensor/tensor.ts';
import type { GpuIndices, GpuTensor } from '../../device/gpu-tensor.ts';
import { elementGrid, place } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Calls } from '../calls.ts';

const ROTARY_TABLE = defineOperation<{
  readonly positions: GpuIndices;
  readonly frequencies: GpuTensor;
  readonly scale: number;
  readonly out: GpuTensor;
}>({
  name: 'rotaryTable',
  lower: (lowering, { positions, frequencies, scale, out }) => {
    const [T, R] = out.shape;
    lowering.dispatch('rotary-table', {
      bindings: { positions: positions.storage, frequencies: frequencies.storage, out: out.storage },
      params: { T, half: R / 2, scale, ...place('frequencies', frequencies), ...place('out', out) },
      workgroups: elementGrid(R / 2, T),
    });
  },
});

export function rotaryTable(calls: Calls, positions: Tensor, inverseFrequencies: Tensor, scale: number): GpuTensor {
  const rows = calls.indices(positions, 'positions', null);
  const frequencies = calls.floats(inverseFrequencies, 'inverseFrequencies', [null]);
  const shape = [rows.data.length, 2 * frequencies.shape[0]];
  return calls.make(ROTARY_TABLE, shape, { positions: rows, frequencies, scale });
}
