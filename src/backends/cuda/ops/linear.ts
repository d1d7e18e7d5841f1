import type { Tensor } from '../../../tensor/tensor.ts';
import type { LinearWeight } from '../../contract/linear.ts';
import { type CudaCalls, elementGrid, flag } from '../device/cuda-calls.ts';
import type { CudaTensor } from '../device/cuda-tensor.ts';
import {
  type CudaWeight,
  cudaWeight,
  type HalvesFormat,
  isHalves,
  PACKED_KINDS,
  type StoredFormat,
} from '../device/cuda-weight.ts';

/** Numbers of rows up to which each has blocks of its own, of products in float32. */
const FEW_ROWS = 2;
/** Outputs of a block for single rows; and outputs and rows for several. */
const VECTOR_OUTPUTS = 8;
const TILE = { outputs: 16, rows: 8 };

/** Kernels on tensor cores, by the rows that their tiles have: outputs, and threads of a block. */
const FEW_HALVES = [
  { rows: 8, outputs: 16, threads: 128 },
  { rows: 16, outputs: 16, threads: 128 },
  { rows: 32, outputs: 32, threads: 256 },
  { rows: 64, outputs: 64, threads: 256 },
] as const;
const MANY_HALVES = { rows: 64, outputs: 128, threads: 256 };
/** Rows from which on tiles have all inputs. */
const MANY_ROWS = 257;
/** Inputs are padded with zeros to a multiple of so many. */
const HALVES_MULTIPLE = 32;

type FloatsFormat = Exclude<StoredFormat, HalvesFormat>;

/** A product's operands, checked. */
interface Product {
  readonly x: CudaTensor;
  readonly matrix: CudaWeight;
  readonly bias: CudaTensor | undefined;
  readonly out: CudaTensor;
}

export function linear(calls: CudaCalls, x: Tensor, weight: LinearWeight, bias?: Tensor): CudaTensor {
  const matrix = cudaWeight(calls.owner, weight);
  const own = calls.floats(x, 'x', [null, matrix.inFeatures]);
  const b = calls.optional(bias, 'bias', [matrix.outFeatures]);
  const out = calls.make([own.shape[0], matrix.outFeatures]);
  if (out.isEmpty) return out;
  const product = { x: own, matrix, bias: b, out };
  if (isHalves(matrix.format)) linearHalves(calls, product, matrix.format);
  else linearFloats(calls, product, matrix.format);
  return out;
}

function linearFloats({ device }: CudaCalls, { x, matrix, bias, out }: Product, format: FloatsFormat): void {
  const { inFeatures: K, outFeatures: N, rowBytes, address: weight } = matrix;
  const [T] = x.shape;
  const parameters = { x, bias, out, weight, rowBytes, T, K, N, hasBias: flag(bias), isAligned: flag(x.isAligned) };
  if (T <= FEW_ROWS) {
    device.launch(`linear_vector_${format}`, { blocks: [T * Math.ceil(N / VECTOR_OUTPUTS)], threads: 128 }, parameters);
  } else {
    const blocks = [Math.ceil(T / TILE.rows) * Math.ceil(N / TILE.outputs)] as const;
    device.launch(`linear_rows_${format}`, { blocks, threads: 128 }, parameters);
  }
}

/** The product on tensor cores, with rows that are split into two parts of the weights' format. */
function linearHalves({ device, memory }: CudaCalls, { x, matrix, bias, out }: Product, format: HalvesFormat): void {
  const { inFeatures: K, outFeatures: N, rowBytes, address: weight } = matrix;
  const [T] = x.shape;
  const padded = Math.ceil(K / HALVES_MULTIPLE) * HALVES_MULTIPLE;
  const [parts, factors] = [memory.allocate(4 * T * padded), memory.allocate(4 * T)];
  const split = { x, out: parts, factors, K, padded, kind: PACKED_KINDS[format] };
  device.launch('split_rows', { blocks: [T], threads: 128 }, split);
  const parameters = { x: parts, factors, bias, out, weight, rowBytes, T, K, N, padded, hasBias: flag(bias) };
  const tiles = ({ rows, outputs, threads }: typeof MANY_HALVES) => {
    return { blocks: [Math.ceil(T / rows) * Math.ceil(N / outputs)] as const, threads };
  };
  const few = FEW_HALVES.find(({ rows }) => T <= rows) ?? FEW_HALVES[FEW_HALVES.length - 1];
  if (T >= MANY_ROWS) device.launch(`linear_many_${format}`, tiles(MANY_HALVES), parameters);
  else device.launch(`linear_${few.rows}_${format}`, tiles(few), parameters);
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
