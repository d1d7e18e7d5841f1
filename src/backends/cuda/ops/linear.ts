import type { Tensor } from '../../../tensor/tensor.ts';
import type { LinearWeight } from '../../contract/linear.ts';
import { type CudaCalls, elementGrid, flag } from '../device/cuda-calls.ts';
import type { CudaTensor } from '../device/cuda-tensor.ts';
import { cudaWeight } from '../device/cuda-weight.ts';

/** Numbers of rows up to which each has blocks of its own. */
const FEW_ROWS = 2;
/** Outputs of a block for single rows; and outputs and rows for several. */
const VECTOR_OUTPUTS = 8;
const TILE = { outputs: 16, rows: 8 };

export function linear(calls: CudaCalls, x: Tensor, weight: LinearWeight, bias?: Tensor): CudaTensor {
  const matrix = cudaWeight(calls.owner, weight);
  const { inFeatures: K, outFeatures: N, format, rowBytes } = matrix;
  const own = calls.floats(x, 'x', [null, K]);
  const b = calls.optional(bias, 'bias', [N]);
  const [T] = own.shape;
  const out = calls.make([T, N]);
  const parameters = {
    ...{ x: own, bias: b, out, weight: matrix.address, rowBytes, T, K, N },
    ...{ hasBias: flag(b), isAligned: flag(own.isAligned) },
  };
  if (T <= FEW_ROWS) {
    const blocks = [T * Math.ceil(N / VECTOR_OUTPUTS)] as const;
    calls.device.launch(`linear_vector_${format}`, { blocks, threads: 128 }, parameters);
  } else {
    const blocks = [Math.ceil(T / TILE.rows) * Math.ceil(N / TILE.outputs)] as const;
    calls.device.launch(`linear_rows_${format}`, { blocks, threads: 128 }, parameters);
  }
  return out;
}

export function embedding(calls: CudaCalls, ids: Tensor, table: LinearWeight, firstRow = 0): CudaTensor {
  const { address, rowBytes, inFeatures: K, outFeatures, format } = cudaWeight(calls.owner, table);
  const rows = calls.indices(ids, 'ids', null);
  const T = rows.data.length;
  const out = calls.make([T, K]);
  const parameters = { ids: rows.address, table: address, rowBytes, out, T, K, firstRow, tableRows: outFeatures };
  calls.device.launch(`embedding_${format}`, elementGrid(T, Math.ceil(K / 8)), parameters);
  return out;
}
