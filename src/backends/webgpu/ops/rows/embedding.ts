import type { Tensor } from '../../../../tensor/tensor.ts';
import type { LinearWeight } from '../../../contract/linear.ts';
import type { GpuIndices, GpuTensor } from '../../device/gpu-tensor.ts';
import { elementGrid, place } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import { type GpuLinearWeight, gpuWeight, singleWeightConstants } from '../../linear/linear-weight.ts';
import type { Calls } from '../calls.ts';

const EMBEDDING = defineOperation<{
  readonly ids: GpuIndices;
  readonly table: GpuLinearWeight;
  readonly firstRow: number;
  readonly out: GpuTensor;
}>({
  name: 'embedding',
  lower: (lowering, { ids, table, firstRow, out }) => {
    const [T, K] = out.shape;
    for (const part of table.parts) {
      lowering.dispatch('embedding', {
        constants: singleWeightConstants(table),
        bindings: { ids: ids.storage, weight: part.storage, out: out.storage },
        params: {
          T,
          K,
          firstRow,
          rows: table.outFeatures,
          partBegin: part.firstRow,
          partEnd: part.firstRow + part.rows,
          rowWords: table.rowWords,
          ...place('out', out),
        },
        workgroups: elementGrid(K, T),
      });
    }
  },
});

export function embedding(calls: Calls, ids: Tensor, table: LinearWeight, firstRow = 0): GpuTensor {
  const weight = gpuWeight(calls.owner, table);
  const rows = calls.indices(ids, 'ids', null);
  return calls.make(EMBEDDING, [ids.shape[0], weight.inFeatures], { ids: rows, table: weight, firstRow });
}
