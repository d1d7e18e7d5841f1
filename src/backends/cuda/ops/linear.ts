import type { Tensor } from '../../../tensor/tensor.ts';
import type { LinearWeight } from '../../contract/linear.ts';
import { type CudaCalls, elementGrid, flag } from '../device/cuda-calls.ts';
import type { CudaTensor } from '../device/cuda-tensor.ts';
import {
  type CodesFormat,
  type CudaWeight,
  cudaWeight,
  type FloatsFormat,
  type HalvesFormat,
  isFloats,
  isHalves,
  PACKED_KINDS,
} from '../device/cuda-weight.ts';
import type { LinearHalvesParams } from '../kernels/kernels.generated.ts';

/** Numbers of rows up to which each has blocks of its own, of products in float32. */
const SINGLE_ROWS = 2;
/** Outputs of a block for single rows; and outputs and rows for several. */
const VECTOR_OUTPUTS = 8;
const FLOATS_TILE = { outputs: 16, rows: 8 };

/** Rows that the kernels for few take, outputs of their blocks, and shared memory. */
const FEW_ROWS = 8;
const FEW_ROWS_OUTPUTS = 16;
export const FEW_ROWS_BYTES = 65_536;
/** Kernels on tensor cores for more rows: what a block has, and numbers of rows that they are for. */
export const TILES = [
  { kernel: 'linear_64x16', rows: 16, upTo: 16, sharedBytes: 24_576 },
  { kernel: 'linear_64x32', rows: 32, upTo: 64, sharedBytes: 32_768 },
  { kernel: 'linear_64x64', rows: 64, upTo: Number.POSITIVE_INFINITY, sharedBytes: 49_152 },
] as const;
const TILE_OUTPUTS = 64;
/** Slices of the inputs, and inputs of a multiplication's step: rows are padded with zeros to a multiple of so many. */
const SLICES = 8;
const STEP_INPUTS = 32;
/** Blocks below which each has one slice only, so that there are more. */
const MANY_BLOCKS = 200;
/** Bytes of blocks that are unpacked at a time. */
const UNPACKED_BYTES = 128 * 2 ** 20;

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
  if (isFloats(matrix.format)) linearFloats(calls, product, matrix.format);
  else if (isHalves(matrix.format)) linearHalves(calls, product, matrix.format);
  else linearCodes(calls, product, matrix.format);
  return out;
}

/** What a product does besides, once it has taken over later launches: nothing so far. */
const NOTHING_BESIDES = {
  ...{ hasAddend: 0, addend: undefined, sum: undefined },
  ...{ convWeight: undefined, convBias: undefined, convOut: undefined },
  ...{ convStates: undefined, convStateStride: 0, convSlots: undefined, convFirst: 0, convChannels: 0, convK: 1 },
  ...{ convW: 0, convIsSilu: 0, hasConvBias: 0 },
} as const;
/** The norm that a product on tensor cores does before, once it has taken one over: none so far. */
const NOTHING_BEFORE = {
  ...{ normX: undefined, normZ: undefined, normY: undefined, normSquareSums: undefined, normWeight: undefined },
  ...{ normOut: undefined, normHasAddend: 0, normGroups: 0, normGroupSize: 1, normCount: 1, normEps: 0 },
} as const;

function linearFloats({ device }: CudaCalls, { x, matrix, bias, out }: Product, format: FloatsFormat): void {
  const { inFeatures: K, outFeatures: N, rowBytes, address: weight } = matrix;
  const [T] = x.shape;
  const sizes = { rowBytes, T, K, N, hasBias: flag(bias), isAligned: flag(x.isAligned) };
  const parameters = { x, bias, out, weight, ...sizes, ...NOTHING_BESIDES };
  if (T <= SINGLE_ROWS) {
    device.launch(`linear_vector_${format}`, { blocks: [T * Math.ceil(N / VECTOR_OUTPUTS)], threads: 128 }, parameters);
  } else {
    const blocks = [Math.ceil(T / FLOATS_TILE.rows) * Math.ceil(N / FLOATS_TILE.outputs)] as const;
    device.launch(`linear_rows_${format}`, { blocks, threads: 128 }, parameters);
  }
}

/** Products with float16 and bfloat16. */
function linearHalves(calls: CudaCalls, product: Product, format: HalvesFormat): void {
  const parameters = splitProduct(calls, product, PACKED_KINDS[format]);
  if (parameters.T > FEW_ROWS) launchTiles(calls, parameters, format);
  else launchFew(calls, parameters, format);
}

/** Products with codes of blocks. For many rows the blocks are unpacked first, as many as there is room for at a time. */
function linearCodes(calls: CudaCalls, product: Product, format: CodesFormat): void {
  const { device, memory } = calls;
  const hasZeros = format === 'Q4_K' || format === 'Q5_K';
  const split = splitProduct(calls, product, PACKED_KINDS.FLOAT16);
  const { T, padded, rowBytes, out, weight, bias } = split;
  const steps = padded / STEP_INPUTS;
  const inputSums = hasZeros ? memory.allocate(4 * T * steps) : undefined;
  if (inputSums !== undefined) {
    device.launch('sum_parts', elementGrid(T, steps), { x: split.x, out: inputSums, T, padded });
  }
  const parameters = { ...split, inputSums };
  if (T <= FEW_ROWS) {
    launchFew(calls, parameters, format);
    return;
  }
  const atOnce = Math.max(1, Math.floor(UNPACKED_BYTES / (2 * padded + 8 * steps)));
  for (let begin = 0; begin < split.N; begin += atOnce) {
    const N = Math.min(atOnce, split.N - begin);
    const codes = memory.scratch('codes', N * (2 * padded + 8 * steps));
    const scales = codes + 2 * N * padded;
    const zeros = hasZeros ? scales + 4 * N * steps : undefined;
    const blocks = { weight: weight + begin * rowBytes, rowBytes, N, padded };
    device.launch(`unpack_codes_${format}`, elementGrid(N, padded / 8), { ...blocks, codes, scales, zeros });
    const part = { weight: codes, rowBytes: 2 * padded, N, scales, zeros };
    const columns = { out: out.view([T, N], begin), bias: bias?.view([N], begin * bias.stride) };
    launchTiles(calls, { ...parameters, ...part, ...columns }, 'CODES');
  }
}

/** The parameters of a product on tensor cores, whose rows are split into two parts of a kind. */
function splitProduct({ device, memory }: CudaCalls, { x, matrix, bias, out }: Product, kind: number) {
  const { inFeatures: K, outFeatures: N, rowBytes, address: weight } = matrix;
  const [T] = x.shape;
  const padded = Math.ceil(K / STEP_INPUTS) * STEP_INPUTS;
  const [parts, factors] = [memory.allocate(4 * T * padded), memory.allocate(4 * T)];
  device.launch('split_rows', { blocks: [T], threads: 128 }, { x, out: parts, factors, K, padded, kind });
  return {
    ...{ x: parts, factors, bias, out, weight, rowBytes, T, K, N, padded, hasBias: flag(bias) },
    ...{ slices: undefined, scales: undefined, zeros: undefined, inputSums: undefined },
    ...NOTHING_BESIDES,
    ...NOTHING_BEFORE,
  };
}

function launchFew({ device }: CudaCalls, parameters: LinearHalvesParams, format: HalvesFormat | CodesFormat): void {
  const grid = { blocks: [Math.ceil(parameters.N / FEW_ROWS_OUTPUTS)] as const, threads: 256 };
  const sharedBytes = isHalves(format) ? FEW_ROWS_BYTES : undefined;
  device.launch(`linear_16x8_${format}`, { ...grid, sharedBytes }, parameters);
}

/** Tiles; where they are few, each slice of them has blocks of its own, and their sums are put together after. */
function launchTiles(
  { device, memory }: CudaCalls,
  parameters: LinearHalvesParams,
  format: HalvesFormat | 'CODES',
): void {
  const { T, N } = parameters;
  const { kernel, rows, sharedBytes } = TILES.find(({ upTo }) => T <= upTo) ?? TILES[2];
  const blocks = Math.ceil(T / rows) * Math.ceil(N / TILE_OUTPUTS);
  const name = `${kernel}_${format}` as const;
  const grid = { threads: 128, sharedBytes };
  if (blocks >= MANY_BLOCKS) {
    device.launch(name, { ...grid, blocks: [blocks] }, parameters);
    return;
  }
  const apart = { ...parameters, slices: memory.scratch('slices', 4 * SLICES * T * N) };
  device.launch(name, { ...grid, blocks: [blocks, SLICES] }, apart);
  device.launch(`linear_sum_${format}`, elementGrid(T, N), apart);
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
