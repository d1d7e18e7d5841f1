import { ArgumentError } from '../../../errors.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import { MLP_ACTIVATIONS, type MlpActivation } from '../../contract/activations.ts';
import { checkExperts, checkRouting, type ExpertWeights, type RoutingOptions } from '../../contract/experts.ts';
import { type CudaCalls, elementGrid, flag } from '../device/cuda-calls.ts';
import { CudaRouting, CudaTensor } from '../device/cuda-tensor.ts';
import {
  type CudaWeight,
  cudaWeight,
  hasZeros,
  isFloats,
  isHalves,
  isSpread,
  PACKED_KINDS,
  type PartsFormat,
} from '../device/cuda-weight.ts';
import { nearRows } from '../launch/near-rows.ts';
import { NUM_PARTS } from './linear.ts';
import { activate, activateAndMul } from './rows.ts';

/** Experts that a block of top_k_routing has room for. */
const MOST_EXPERTS = 2048;
/** Bytes that the experts' results of the rows of one pass may take. */
const PASS_BYTES = 256 * 2 ** 20;
/** Rows and experts up to which every block that groups visits counts all of them. */
const MOST_COUNTED = 16_384;
/** Bytes of these that may stay until the end of the layer. */
const KEPT_BYTES = 16 * 2 ** 20;
const TILE_BYTES = 12;
/** Columns of a block of sum_visits. */
const SUM_COLUMNS = 1024;
/** Inputs of a step on tensor cores, and slices of all of them. */
const STEP_INPUTS = 32;
const SLICES = 8;
/** Outputs that a warp multiplies at a time in kernels for few visits, and the most that their blocks have. */
const FEW_OUTPUTS = 16;
const FEW_TILES = 4;
/** Blocks for a single row that run at a time; more of them have two tiles each where weights are in blocks. */
const ROW_BLOCKS = 396;
/** Steps of weights of 16 bits that a slice has room for, and bytes of a block for one of them, and for sums of 16 outputs. */
const FEW_STAGES = 6;
const STAGE_BYTES = 8192;
const SUMS_BYTES = 4096;
/** Shared memory of such a block that leaves room for three of them on a multiprocessor. */
const FEW_BYTES = 58_368;
/** Columns of a row that a block may split for itself. */
const MOST_SINGLE_COLUMNS = 4096;
/** Kernels on tensor cores: visits of a tile, and visits that an expert has on average up to which they are used. */
const FEW = { name: 'expert_16x8', rows: 8, upTo: 6 } as const;
const TILES = [
  FEW,
  { name: 'expert_64x32', rows: 32, upTo: 28, sharedBytes: 32_768 },
  { name: 'expert_64x64', rows: 64, upTo: Number.POSITIVE_INFINITY, sharedBytes: 49_152 },
] as const;
/** Outputs and threads of their blocks but for few visits. */
const TILE_OUTPUTS = 64;
const TILE_THREADS = 128;

export function topKRouting(
  calls: CudaCalls,
  logits: Tensor,
  options: RoutingOptions,
  correctionBias?: Tensor,
): CudaTensor {
  const own = calls.floats(logits, 'logits', [null, null]);
  const [T, E] = own.shape;
  const bias = calls.optional(correctionBias, 'correctionBias', [E]);
  checkRouting(E, options);
  if (E > MOST_EXPERTS) {
    throw new ArgumentError(`A mixture has ${E} experts.`, `The device 'cuda' takes up to ${MOST_EXPERTS}.`);
  }
  const { topK, scoring, numGroups = 1, topKGroups = numGroups, renormalize, scale = 1 } = options;
  const made = calls.make(own.shape);
  const out = new CudaRouting(calls.owner, made.address, made.shape, made.stride, topK);
  calls.device.launch(
    'top_k_routing',
    { blocks: [T], threads: 128 },
    {
      ...{ logits: own, bias, out, E, topK, numGroups, topKGroups, scale },
      ...{ isSigmoid: flag(scoring === 'sigmoid'), isRenormalized: flag(renormalize), hasBias: flag(bias) },
    },
  );
  return out;
}

/** The matrices of one kind of all experts, as kernels find them. */
interface ExpertMatrices {
  /** Address of a list of the matrices' addresses. */
  readonly list: number;
  readonly first: CudaWeight;
}

/** Lists of matrices that were made, by the experts that they are of. */
export class ExpertLists {
  readonly #known = new WeakMap<CudaWeight, readonly ExpertMatrices[]>();
  readonly #members = new WeakMap<ExpertMatrices, readonly CudaWeight[]>();

  /** @throws ArgumentError unless all are of one format, in this backend. */
  get(calls: CudaCalls, experts: readonly ExpertWeights[], kind: 'up' | 'down'): ExpertMatrices {
    const matrices = experts.map((expert) => cudaWeight(calls.owner, expert[kind]));
    const [first] = matrices;
    const known = this.#known.get(first) ?? [];
    const found = known.find((each) => this.#members.get(each)?.every((matrix, e) => matrix === matrices[e]));
    if (found && this.#members.get(found)?.length === matrices.length) return found;
    const odd = matrices.find(({ format }) => format !== first.format);
    if (odd) {
      throw new ArgumentError(`Experts' matrices are ${first.format} and ${odd.format}.`, 'Keep all in one format.');
    }
    const list = calls.memory.allocateLasting(8 * matrices.length);
    const addresses = BigUint64Array.from(matrices, ({ address }) => BigInt(address));
    calls.device.call('cuMemcpyHtoDAsync', list, addresses, addresses.byteLength, calls.device.stream);
    const made = { list, first };
    this.#members.set(made, matrices);
    this.#known.set(first, [...known, made]);
    return made;
  }
}

export function fusedMoe(
  calls: CudaCalls,
  lists: ExpertLists,
  x: Tensor,
  routing: Tensor,
  experts: readonly ExpertWeights[],
  activation: MlpActivation,
  gated: boolean,
): CudaTensor {
  const own = calls.floats(x, 'x', [null, null]);
  const [T, C] = own.shape;
  const E = experts.length;
  const weights = calls.floats(routing, 'routing', [T, E]);
  const out = calls.make([T, checkExperts(experts, C, gated)]);
  const up = lists.get(calls, experts, 'up');
  const down = lists.get(calls, experts, 'down');
  const mixture = { up, down, E, gated, kind: MLP_ACTIVATIONS.indexOf(activation) };
  const mostVisits = weights instanceof CudaRouting ? weights.mostVisits : E;
  const rowBytes = 4 * mostVisits * (up.first.outFeatures + down.first.inFeatures + down.first.outFeatures);
  const atOnce = Math.max(1, Math.floor(PASS_BYTES / rowBytes));
  for (let begin = 0; begin < T; begin += atOnce) {
    const count = Math.min(atOnce, T - begin);
    const part = (all: CudaTensor) => all.view([count, all.shape[1]], begin * all.stride);
    const rows = { x: part(own), routing: part(weights), out: part(out), mostVisits };
    const run = () => (isSingle(rows, mixture) ? runSingle : runVisits)(calls, rows, mixture);
    // A scope's end keeps kernels from taking over later launches.
    if (T * rowBytes <= KEPT_BYTES) run();
    else calls.memory.scope(run);
  }
  return out;
}

/** The experts of a layer. */
interface Mixture {
  readonly up: ExpertMatrices;
  readonly down: ExpertMatrices;
  readonly E: number;
  readonly gated: boolean;
  /** The activation's number in activations.cuh. */
  readonly kind: number;
}

interface MixtureRows {
  readonly x: CudaTensor;
  readonly routing: CudaTensor;
  readonly out: CudaTensor;
  /** Experts that a row has a weight for, at most. */
  readonly mostVisits: number;
}

/** Whether there is one row, which every block of a product splits for itself. */
function isSingle({ x: { shape } }: MixtureRows, { up: { first: up }, down: { first: down } }: Mixture): boolean {
  const fits = Math.max(up.inFeatures, down.inFeatures) <= MOST_SINGLE_COLUMNS;
  return shape[0] === 1 && fits && !isFloats(up.format) && !isFloats(down.format);
}

/** A single row, whose visits each have blocks of their own. */
function runSingle(calls: CudaCalls, { x, routing, out, mostVisits }: MixtureRows, mixture: Mixture): void {
  const { up, down, E, gated, kind } = mixture;
  const product = ({ list, first }: ExpertMatrices, from: number, xStride: number, isActivated: boolean) => {
    const { inFeatures: K, outFeatures: N, rowBytes, format } = first as CudaWeight & { readonly format: PartsFormat };
    const padded = roundUp(K, STEP_INPUTS);
    const made = calls.memory.allocate(4 * mostVisits * N);
    const tiles = Math.ceil(N / FEW_OUTPUTS);
    const outputTiles = !isHalves(format) && tiles * mostVisits > ROW_BLOCKS ? 2 : 1;
    const blocks = [Math.ceil(tiles / outputTiles), mostVisits] as const;
    const ownBytes = 4 * padded + 4 * roundUp(padded / STEP_INPUTS, 4);
    const { nearPieces, sharedBytes } = fewShared(calls, { outputTiles, padded, format, rowBytes, ownBytes });
    calls.device.launch(
      `expert_row_${format}`,
      { blocks, threads: 256, sharedBytes },
      {
        ...{ x: from, routing, weights: list, rowBytes, out: made, E, K, padded, N, outputTiles, nearPieces },
        ...{ xStride, kind },
        ...{ numParts: NUM_PARTS[calls.matmulPrecision], isActivated: flag(isActivated), isGated: flag(gated) },
      },
    );
    return made;
  };
  const hidden = product(up, x.address, 0, false);
  const y = product(down, hidden, up.first.outFeatures, true);
  sumVisits(calls, { x: y, routing, out, places: undefined });
}

/** Visits sorted by expert, in tiles of one expert each. */
interface Visits {
  /** Visits, at most, and tiles. */
  readonly most: number;
  readonly numTiles: number;
  readonly tiles: number;
  readonly visitRows: number;
  readonly places: number;
  readonly kernel: (typeof TILES)[number];
}

function runVisits(calls: CudaCalls, { x, routing, out, mostVisits }: MixtureRows, mixture: Mixture): void {
  const { up, down, gated, kind } = mixture;
  const visits = groupVisits(calls, routing, mostVisits);
  const { most, visitRows } = visits;
  const hidden = product(calls, up, visits, {
    visitRows,
    rows: () => x,
    parts: (format) => splitRows(calls, x, format, visits.kernel),
  });
  const I = down.first.inFeatures;
  const y = product(calls, down, visits, {
    visitRows: undefined,
    rows: () => activatedRows(calls, hidden, mixture),
    parts: (format) => activatedParts(calls, hidden, { I, gated, kind, most }, format, visits.kernel),
  });
  sumVisits(calls, { x: y.address, routing, out, places: visits.places });
}

/** Sorts visits by expert, all on the device. */
function groupVisits({ device, memory }: CudaCalls, routing: CudaTensor, mostVisits: number): Visits {
  const [T, E] = routing.shape;
  const most = T * mostVisits;
  const kernel = TILES.find(({ upTo }) => most <= upTo * E) ?? TILES[2];
  // Every expert that is visited has a tile that may not be full.
  const numTiles = Math.min(most, Math.floor(most / kernel.rows) + E);
  const [tiles, visitRows, places] = [TILE_BYTES * numTiles, 4 * most, 4 * T * E].map((bytes) =>
    memory.allocate(bytes),
  );
  const areMany = T * E > MOST_COUNTED || E > MOST_EXPERTS;
  const counts = areMany ? memory.allocate(4 * E) : undefined;
  const grid = { blocks: [E], threads: 256 } as const;
  if (counts !== undefined) device.launch('count_visits', grid, { routing, counts, T });
  const sizes = { T, E, tileRows: kernel.rows, numTiles };
  device.launch('group_visits', grid, { routing, counts, visitRows, places, tiles, ...sizes });
  return { most, numTiles, tiles, visitRows, places, kernel };
}

/** Rows in two parts each, for tensor cores. */
interface RowParts {
  readonly x: number;
  readonly factors: number;
  readonly inputSums: number | undefined;
}

/** Columns of rows in parts. */
function paddedColumns(K: number, format: PartsFormat, { name }: (typeof TILES)[number]) {
  const areSpread = name !== FEW.name && isSpread(format);
  return { padded: roundUp(K, STEP_INPUTS) * (areSpread ? 2 : 1), isSpread: flag(areSpread) };
}

function splitRows(calls: CudaCalls, x: CudaTensor, format: PartsFormat, kernel: (typeof TILES)[number]): RowParts {
  const [T, K] = x.shape;
  const { padded, isSpread } = paddedColumns(K, format, kernel);
  const parts = partsRoom(calls, T, padded);
  const kind = PACKED_KINDS[isHalves(format) ? format : 'FLOAT16'];
  const split = {
    x,
    out: parts.x,
    factors: parts.factors,
    K,
    padded,
    kind,
    numParts: NUM_PARTS.high,
    isInBlocks: 0,
    isSpread,
  };
  calls.device.launch('split_rows', { blocks: [T], threads: 128 }, split);
  return { ...parts, inputSums: sumParts(calls, parts.x, { T, padded }, format) };
}

interface Activated {
  readonly I: number;
  readonly gated: boolean;
  readonly kind: number;
  readonly most: number;
}

/** The visits' rows after their activation, in two parts each. */
function activatedParts(
  calls: CudaCalls,
  hidden: CudaTensor,
  { I: K, gated, kind, most }: Activated,
  format: PartsFormat,
  kernel: (typeof TILES)[number],
): RowParts {
  const { padded, isSpread } = paddedColumns(K, format, kernel);
  const parts = partsRoom(calls, most, padded);
  const sizes = { K, padded, kind, isGated: flag(gated), isFloat16: flag(format !== 'BFLOAT16'), isSpread };
  const split = { hidden: hidden.address, out: parts.x, factors: parts.factors, ...sizes };
  calls.device.launch('split_activated', { blocks: [most], threads: 256, sharedBytes: 4 * roundUp(K, 4) }, split);
  return { ...parts, inputSums: sumParts(calls, parts.x, { T: most, padded }, format) };
}

/** The visits' rows after their activation. */
function activatedRows(calls: CudaCalls, hidden: CudaTensor, { down, gated, kind }: Mixture): CudaTensor {
  const activation = MLP_ACTIVATIONS[kind];
  if (!gated) return activate(calls, hidden, activation);
  const shape = [hidden.shape[0], down.first.inFeatures];
  return activateAndMul(calls, hidden.view(shape), hidden.view(shape, shape[1]), activation);
}

function partsRoom({ memory }: CudaCalls, T: number, padded: number) {
  return { x: memory.allocate(4 * T * padded), factors: memory.allocate(4 * T) };
}

/** The sums of 32 inputs that formats need whose values are less than scaled codes. */
function sumParts(
  { device, memory }: CudaCalls,
  x: number,
  { T, padded }: { readonly T: number; readonly padded: number },
  format: PartsFormat,
): number | undefined {
  if (!hasZeros(format)) return undefined;
  const steps = padded / STEP_INPUTS;
  const out = memory.allocate(4 * T * steps);
  device.launch('sum_parts', elementGrid(T, steps), { x, isInBlocks: 0, out, T, padded });
  return out;
}

interface ProductRows {
  /** The row of each visit; undefined where visits are the rows. */
  readonly visitRows: number | undefined;
  /** Makes the rows, for a format that is multiplied in float32, or their parts. */
  readonly rows: () => CudaTensor;
  readonly parts: (format: PartsFormat) => RowParts;
}

/** The products of the visits: (visits, N) without gaps. */
function product(
  calls: CudaCalls,
  { list: weights, first }: ExpertMatrices,
  { most, numTiles, tiles, kernel }: Visits,
  { rows, parts, visitRows }: ProductRows,
): CudaTensor {
  const { inFeatures: K, outFeatures: N, rowBytes, format } = first;
  const out = new CudaTensor(calls.owner, calls.memory.allocate(4 * most * N), [most, N], N);
  const common = { visitRows, tiles, weights, rowBytes, out: out.address, numTiles, K, N };
  if (isFloats(format)) {
    const grid = { blocks: [numTiles * Math.ceil(N / FEW_OUTPUTS)], threads: 128 } as const;
    const x = rows();
    calls.device.launch(`expert_floats_${format}`, grid, { ...common, x, isAligned: flag(x.isAligned) });
    return out;
  }
  const { padded } = paddedColumns(K, format, kernel);
  const tensorCores = { ...common, ...parts(format), padded, numParts: NUM_PARTS[calls.matmulPrecision] };
  if (kernel.name === FEW.name) {
    const outputTiles = fewTiles({ rowBytes, padded, format, N });
    const { nearPieces, sharedBytes } = fewShared(calls, { outputTiles, padded, format, rowBytes, ownBytes: 0 });
    const blocks = [numTiles * Math.ceil(N / FEW_OUTPUTS / outputTiles)] as const;
    const grid = { blocks, threads: 256, sharedBytes };
    calls.device.launch(`${kernel.name}_${format}`, grid, { ...tensorCores, outputTiles, nearPieces });
  } else {
    const blocks = [numTiles * Math.ceil(N / TILE_OUTPUTS)] as const;
    const grid = { blocks, threads: TILE_THREADS, sharedBytes: kernel.sharedBytes };
    calls.device.launch(`${kernel.name}_${format}`, grid, { ...tensorCores, outputTiles: 0, nearPieces: 0 });
  }
  return out;
}

interface FewShape {
  readonly padded: number;
  readonly format: PartsFormat;
  readonly rowBytes: number;
}

/** Tiles of outputs of a block for few visits: as many as leave room for some blocks. */
function fewTiles({ rowBytes, padded, format, N }: FewShape & { readonly N: number }): number {
  const most = Math.min(FEW_TILES, Math.ceil(N / FEW_OUTPUTS));
  if (isHalves(format)) return most;
  const bytes = (tiles: number) => fewBytes(tiles, padded, format) + tiles * FEW_OUTPUTS * rowBytes;
  for (let tiles = most; tiles > 1; tiles = Math.ceil(tiles / 2)) if (bytes(tiles) <= FEW_BYTES) return tiles;
  return 1;
}

/** Shared memory of a block for few visits, with the rows of weights that are copied there. */
function fewShared(
  { device: { info } }: CudaCalls,
  { outputTiles, padded, format, rowBytes, ownBytes }: FewShape & { outputTiles: number; ownBytes: number },
) {
  const usedBytes = fewBytes(outputTiles, padded, format) + ownBytes;
  if (isHalves(format)) return { nearPieces: 0, sharedBytes: usedBytes };
  const { nearPieces, nearBytes } = nearRows(outputTiles * FEW_OUTPUTS, rowBytes, usedBytes, info.sharedBytes);
  return { nearPieces, sharedBytes: usedBytes + nearBytes };
}

/** Shared memory of a block for few visits: see expert_16x8. */
function fewBytes(outputTiles: number, padded: number, format: PartsFormat): number {
  const steps = outputTiles * Math.ceil(padded / STEP_INPUTS / SLICES);
  return outputTiles * SUMS_BYTES + (isHalves(format) ? STAGE_BYTES * Math.min(FEW_STAGES, steps) : 0);
}

interface VisitSums {
  readonly x: number;
  readonly routing: CudaTensor;
  readonly out: CudaTensor;
  /** The visits of rows and experts; undefined for those of a single row in their order. */
  readonly places: number | undefined;
}

function sumVisits({ device }: CudaCalls, { x, routing, out, places }: VisitSums): void {
  const [T, C] = out.shape;
  const blocks = [Math.ceil(C / SUM_COLUMNS), T] as const;
  device.launch(
    'sum_visits',
    { blocks, threads: 256 },
    {
      ...{ x, routing, out, places, E: routing.shape[1], C, hasAddend: 0, addend: undefined, sum: undefined },
      ...{ isScaled: 0, scale: 1, scaled: undefined, hasResidual: 0, residual: undefined, total: undefined },
    },
  );
}

function roundUp(n: number, multiple: number): number {
  return Math.ceil(n / multiple) * multiple;
}
