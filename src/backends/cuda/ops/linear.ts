import type { MatmulPrecision } from '../../../tensor/matmul-precision.ts';
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
  hasZeros,
  isFloats,
  isHalves,
  isSpread,
  PACKED_KINDS,
} from '../device/cuda-weight.ts';
import type { LinearHalvesParams } from '../kernels/kernels.generated.ts';
import type { Grid } from '../launch/launch.ts';
import { nearRows } from '../launch/near-rows.ts';

/** Numbers of rows up to which each has blocks of its own, of products in float32. */
const SINGLE_ROWS = 2;
/** Outputs of a block for single rows; and outputs and rows for several. */
const VECTOR_OUTPUTS = 8;
const FLOATS_TILE = { outputs: 16, rows: 8 };

/** Rows that the kernels for few take, outputs of their blocks, and shared memory. */
const FEW_ROWS = 8;
const FEW_ROWS_OUTPUTS = 16;
export const FEW_ROWS_BYTES = 65_536;
/**
 * Kernels on tensor cores for more rows: what a block has, numbers of rows that they are for, and blocks below which each has one
 * slice only, so that there are more.
 */
export const TILES = [
  ...[tiles('linear_64x16', 16, 24_576), tiles('linear_64x32', 64, 32_768)],
  tiles('linear_64x64', Number.POSITIVE_INFINITY, 49_152),
] as const;
/** Products of more rows than these have kernels of their own on Hopper, whose rows lie in blocks. */
const NOT_WIDE_ROWS = 32;
/** Blocks of the smallest of them, of which a multiprocessor has room for two. */
const SMALL_WIDE = { threads: 256, sharedBytes: 99_328 } as const;
/** Those kernels' tiles of numbers and of codes, each with the time that it takes. */
export const WIDE_TILES = {
  halves: [
    wideTiles('linear_wide_64x64', { ...SMALL_WIDE, tileTime: 4.3, stepTimes: [0.24, 0.26] }),
    wideTiles('linear_wide_64x64', { ...SMALL_WIDE, together: 2, tileTime: 7, stepTimes: [0.28, 0.33] }),
    wideTiles('linear_wide_128x128', { threads: 384, tileTime: 6, stepTimes: [0.27, 0.38] }),
    wideTiles('linear_wide_192x128', { threads: 512, tileTime: 7.3, stepTimes: [0.36, 0.48] }),
    wideTiles('linear_wide_128x192', { threads: 384, tileTime: 7.3, stepTimes: [0.31, Number.POSITIVE_INFINITY] }),
  ],
  codes: [
    wideTiles('linear_wide_64x64', { ...SMALL_WIDE, tileTime: 4.8, stepTimes: [0.33, 0.36] }),
    wideTiles('linear_wide_64x64', { ...SMALL_WIDE, together: 2, tileTime: 7, stepTimes: [0.45, 0.52] }),
    wideTiles('linear_wide_128x128', { threads: 384, tileTime: 7, stepTimes: [0.6, 0.68] }),
  ],
} as const;
/** What linear_sum takes: µs, and µs for a million outputs. */
const SUM_TIME = 2.5;
const SUM_TIME_PER_MILLION = 8;
/** Rows and inputs of the blocks that rows lie in. */
const BLOCK = 64;
/** Slices of the inputs, and inputs of a multiplication's step: rows are padded with zeros to a multiple of so many. */
const SLICES = 8;
const STEP_INPUTS = 32;
/** Bytes of blocks that are unpacked at a time. */
const UNPACKED_BYTES = 128 * 2 ** 20;

/**
 * Kernels for more rows of matrices that are not large: what a block has, and how long all multiprocessors take with as many blocks
 * as they hold, next to the first. A block has all slices of the inputs, so the rows are read by every block.
 */
export const JOINED_TILES = [
  joinedTiles('linear_joined_32x16', 98_304, 1),
  joinedTiles('linear_joined_64x32', 131_072, 1.7),
] as const;
/** Rows that they take; and how long they may take, in the same measure: other tiles are better then. */
const JOINED_ROWS = 64;
const MOST_JOINED = 5;
/** What that measure is in µs, and µs for a step besides; and what other tiles may take more, as they need kernels after them. */
const JOINED_TIME = 2.6;
const JOINED_STEP_TIME = 0.082;
const TIME_AFTER_TILES = 3;

function joinedTiles<Name extends `linear_joined_${string}`>(kernel: Name, sharedBytes: number, time: number) {
  const [outputs, rows] = (/\d+x\d+$/.exec(kernel)?.[0] ?? '').split('x').map(Number);
  return { kernel, outputs, rows, threads: 256, sharedBytes, time };
}

function tiles<Name extends `linear_${string}`>(kernel: Name, upTo: number, sharedBytes: number) {
  const [outputs, rows] = (/\d+x\d+$/.exec(kernel)?.[0] ?? '').split('x').map(Number);
  return { kernel, outputs, rows, upTo, threads: 2 * outputs, manyBlocks: 200, sharedBytes };
}

/** Tiles of a kernel for Hopper, and what they take on an H200. */
interface WideTiles extends Tiles {
  readonly kernel: 'linear_wide_64x64' | 'linear_wide_128x128' | 'linear_wide_192x128' | 'linear_wide_128x192';
  readonly threads: number;
  readonly sharedBytes: number;
  /** Blocks that a multiprocessor has at a time. */
  readonly together: number;
  /** µs of so many tiles for each step, of rows in one part and in two, and µs besides. */
  readonly stepTimes: readonly [one: number, two: number];
  readonly tileTime: number;
}

function wideTiles(
  kernel: WideTiles['kernel'],
  rest: Pick<WideTiles, 'threads' | 'tileTime' | 'stepTimes'> & Partial<WideTiles>,
): WideTiles {
  const [outputs, rows] = (/\d+x\d+$/.exec(kernel)?.[0] ?? '').split('x').map(Number);
  return { kernel, outputs, rows, together: 1, sharedBytes: 230_400, ...rest };
}

/** Kernels that may leave slices apart. */
type SliceKernel =
  | `${(typeof TILES)[number]['kernel']}_${HalvesFormat | 'CODES'}`
  | `${WideTiles['kernel']}_${HalvesFormat}`;

/** Outputs and rows of a block. */
interface Tiles {
  readonly outputs: number;
  readonly rows: number;
}

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
  ...{ hasAddend: 0, addend: undefined, sum: undefined, isScaled: 0, scale: 1, scaled: undefined },
  ...{ convWeight: undefined, convBias: undefined, convOut: undefined },
  ...{ convStates: undefined, convStateStride: 0, convSlots: undefined, convFirst: 0, convChannels: 0, convK: 1 },
  ...{ convW: 0, convIsSilu: 0, hasConvBias: 0 },
} as const;
/** The norm that a product on tensor cores does before, once it has taken one over: none so far. */
const NOTHING_BEFORE = {
  ...{ normX: undefined, normZ: undefined, normY: undefined, normSquareSums: undefined, normWeight: undefined },
  ...{ normOut: undefined, normHasAddend: 0, normKind: 0, normGroups: 0, normGroupSize: 1, normCount: 1, normEps: 0 },
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
  const joined = chooseJoined(calls, product);
  const areWide = !joined && isWide(calls, product);
  const parameters = splitProduct(calls, product, { kind: PACKED_KINDS[format], isInBlocks: areWide });
  if (areWide) launchWide(calls, parameters, format);
  else if (joined) calls.device.launch(`${joined.kernel}_${format}`, joined.grid, parameters);
  else if (parameters.T <= FEW_ROWS) launchFew(calls, parameters, format);
  else launchTiles(calls, parameters, format);
}

/** Products with codes of blocks. For many rows the blocks are unpacked first, as many as there is room for at a time. */
function linearCodes(calls: CudaCalls, product: Product, format: CodesFormat): void {
  const { device, memory } = calls;
  const needsSums = hasZeros(format);
  const areWide = isWide(calls, product);
  const split = splitProduct(calls, product, {
    kind: PACKED_KINDS.FLOAT16,
    isInBlocks: areWide,
    areSpread: isSpread(format) && product.x.shape[0] > FEW_ROWS,
    isSummed: needsSums,
  });
  const { T, padded, rowBytes, out, weight, bias } = split;
  const steps = padded / STEP_INPUTS;
  const inputSums = needsSums ? memory.allocate(4 * T * steps) : undefined;
  if (inputSums !== undefined) {
    const parts = { x: split.x, isInBlocks: flag(areWide) };
    device.launch('sum_parts', elementGrid(T, steps), { ...parts, out: inputSums, T, padded });
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
    const zeros = needsSums ? scales + 4 * N * steps : undefined;
    const blocks = { weight: weight + begin * rowBytes, rowBytes, N, padded };
    device.launch(`unpack_codes_${format}`, elementGrid(N, padded / 8), { ...blocks, codes, scales, zeros });
    const part = { weight: codes, rowBytes: 2 * padded, N, scales, zeros };
    const columns = { out: out.view([T, N], begin), bias: bias?.view([N], begin * bias.stride) };
    (areWide ? launchWide : launchTiles)(calls, { ...parameters, ...part, ...columns }, 'CODES');
  }
}

/** Whether a product is for the kernels that only Hopper has. */
function isWide({ device: { info } }: CudaCalls, { x }: Product): boolean {
  return info.hasWarpgroups && x.shape[0] > NOT_WIDE_ROWS;
}

/** The tiles whose blocks have all slices of the inputs that a product is for, if these are faster than others. */
function chooseJoined({ device: { info }, matmulPrecision }: CudaCalls, { x, matrix }: Product) {
  const [T] = x.shape;
  if (T === 1 || T > JOINED_ROWS) return undefined;
  const { multiprocessors, sharedBytes: mostShared, hasWarpgroups } = info;
  const timed = JOINED_TILES.filter(({ sharedBytes }) => sharedBytes <= mostShared).map((tiles) => {
    const blocks = countTiles(tiles, T, matrix.outFeatures);
    const atOnce = multiprocessors * Math.floor(mostShared / tiles.sharedBytes);
    return { tiles, blocks, time: tiles.time * Math.ceil(blocks / atOnce) };
  });
  const { tiles, blocks, time } = timed.reduce((best, choice) => (choice.time < best.time ? choice : best));
  const steps = Math.ceil(matrix.inFeatures / STEP_INPUTS);
  const sizes = { T, N: matrix.outFeatures, padded: steps * STEP_INPUTS, numParts: NUM_PARTS[matmulPrecision] };
  const areFast =
    hasWarpgroups && T > NOT_WIDE_ROWS
      ? time * (JOINED_TIME + JOINED_STEP_TIME * steps) <=
        leastTime('halves', multiprocessors, sizes).time + TIME_AFTER_TILES
      : time <= MOST_JOINED;
  if (!areFast) return undefined;
  const { kernel, threads, sharedBytes } = tiles;
  return { kernel, grid: { threads, sharedBytes, blocks: [blocks] as const } };
}

/** Numbers of 16 bits as whose sum a product takes an activation. */
export const NUM_PARTS = { high: 2, medium: 1 } as const satisfies Record<MatmulPrecision, number>;

/** How a product's rows are split. */
interface Split {
  readonly kind: number;
  /** Whether their parts lie in blocks. */
  readonly isInBlocks: boolean;
  /** Whether these are spread: see isSpread. Default: false. */
  readonly areSpread?: boolean;
  /** Whether their sums are wanted as well, of all parts: otherwise those that the product leaves out are not made. Default: false. */
  readonly isSummed?: boolean;
}

/** The parameters of a product on tensor cores, whose rows are split into two parts. */
function splitProduct(
  { device, memory, matmulPrecision }: CudaCalls,
  { x, matrix, bias, out }: Product,
  { kind, isInBlocks, areSpread = false, isSummed = false }: Split,
) {
  const { inFeatures: K, outFeatures: N, rowBytes, address: weight } = matrix;
  const [T] = x.shape;
  const padded = Math.ceil(K / STEP_INPUTS) * STEP_INPUTS * (areSpread ? 2 : 1);
  const numbers = isInBlocks ? Math.ceil(T / BLOCK) * Math.ceil(padded / BLOCK) * BLOCK ** 2 : T * padded;
  const [parts, factors] = [memory.allocate(4 * numbers), memory.allocate(4 * T)];
  const numParts = NUM_PARTS[matmulPrecision];
  const made = isSummed ? NUM_PARTS.high : numParts;
  const places = { isInBlocks: flag(isInBlocks), isSpread: flag(areSpread) };
  const split = { x, out: parts, factors, K, padded, kind, numParts: made, ...places };
  device.launch('split_rows', { blocks: [T], threads: 128 }, split);
  return {
    ...{ x: parts, factors, bias, out, weight, rowBytes, hasBias: flag(bias) },
    ...{ T, K: areSpread ? padded : K, N, padded, numParts, nearPieces: 0 },
    ...{ slices: undefined, scales: undefined, zeros: undefined, inputSums: undefined },
    ...NOTHING_BESIDES,
    ...NOTHING_BEFORE,
  };
}

function launchFew({ device }: CudaCalls, parameters: LinearHalvesParams, format: HalvesFormat | CodesFormat): void {
  const grid = { blocks: [Math.ceil(parameters.N / FEW_ROWS_OUTPUTS)] as const, threads: 256 };
  if (isHalves(format)) {
    device.launch(`linear_16x8_${format}`, { ...grid, sharedBytes: FEW_ROWS_BYTES }, parameters);
    return;
  }
  const { nearPieces, nearBytes: sharedBytes } = nearRows(
    FEW_ROWS_OUTPUTS,
    parameters.rowBytes,
    0,
    device.info.sharedBytes,
  );
  device.launch(`linear_16x8_${format}`, { ...grid, sharedBytes }, { ...parameters, nearPieces });
}

/** Tiles; where they are few, each slice of them has blocks of its own. */
function launchTiles(calls: CudaCalls, parameters: LinearHalvesParams, format: HalvesFormat | 'CODES'): void {
  const { T, N } = parameters;
  const { kernel, outputs, rows, threads, sharedBytes, manyBlocks } = TILES.find(({ upTo }) => T <= upTo) ?? TILES[2];
  const blocks = countTiles({ outputs, rows }, T, N);
  const name = `${kernel}_${format}` as const;
  const grid = { threads, sharedBytes };
  if (blocks >= manyBlocks) calls.device.launch(name, { ...grid, blocks: [blocks] }, parameters);
  else launchApart(calls, name, { ...grid, blocks: [blocks, SLICES] }, parameters, format);
}

/** Blocks of a slice each, whose sums are put together after. */
function launchApart(
  { device, memory }: CudaCalls,
  name: SliceKernel,
  grid: Grid,
  parameters: LinearHalvesParams,
  format: HalvesFormat | 'CODES',
): void {
  const { T, N } = parameters;
  const apart = { ...parameters, slices: memory.scratch('slices', 4 * SLICES * T * N) };
  device.launch(name, grid, apart);
  device.launch(`linear_sum_${format}`, elementGrid(T, N), apart);
}

/** The tiles for Hopper that take the least time, whole or in slices. */
function launchWide(calls: CudaCalls, parameters: LinearHalvesParams, format: HalvesFormat | 'CODES'): void {
  const { multiprocessors } = calls.device.info;
  const { tiles, isApart } = leastTime(format === 'CODES' ? 'codes' : 'halves', multiprocessors, parameters);
  const { kernel, together, threads, sharedBytes } = tiles;
  const blocks = countTiles(tiles, parameters.T, parameters.N);
  const name = `${kernel}_${format}` as SliceKernel;
  const grid = { threads, sharedBytes };
  if (isApart) launchApart(calls, name, { ...grid, blocks: [blocks, SLICES] }, parameters, format);
  else calls.device.launch(name, { ...grid, blocks: [Math.min(blocks, together * multiprocessors)] }, parameters);
}

/** Which tiles take the least time, in µs, and whether each slice has blocks of its own. Tiles run in rounds, one for each block. */
export function leastTime(
  kind: keyof typeof WIDE_TILES,
  multiprocessors: number,
  { T, N, padded, numParts }: Pick<LinearHalvesParams, 'T' | 'N' | 'padded' | 'numParts'>,
): { readonly tiles: WideTiles; readonly isApart: boolean; readonly time: number } {
  const steps = padded / STEP_INPUTS;
  const choices = WIDE_TILES[kind].flatMap((tiles) => {
    const { together, stepTimes, tileTime } = tiles;
    const timeOf = (slices: number) => {
      const rounds = Math.ceil((slices * countTiles(tiles, T, N)) / (together * multiprocessors));
      return rounds * (tileTime + Math.ceil(steps / slices) * stepTimes[numParts - 1]);
    };
    const sumTime = SUM_TIME + (SUM_TIME_PER_MILLION * T * N) / 1e6;
    return [
      { tiles, isApart: false, time: timeOf(1) },
      { tiles, isApart: true, time: timeOf(SLICES) + sumTime },
    ];
  });
  return choices.reduce((best, choice) => (choice.time < best.time ? choice : best));
}

function countTiles({ outputs, rows }: Tiles, T: number, N: number): number {
  return Math.ceil(T / rows) * Math.ceil(N / outputs);
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
