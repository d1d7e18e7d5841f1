import type { KernelParameters, LinearHalvesParams, LinearParams } from '../kernels/kernels.generated.ts';
import type { DeviceRows } from '../kernels/parameters.ts';
import type { Launch, LaunchOf } from './launch.ts';
import { nearRows } from './near-rows.ts';

/** Launches of which one may be made: with so many known, the first of them is what it will be. */
export const LONGEST_FUSION = 9;

/** The kind of elementwise that adds: see rows.cu. */
const ADD = 0;
const SCALE = 1;
const SILU_GATE = 3;
/** Its first kinds that put a row through an activation, and that multiply it by another row besides; and the last activation. */
const ACTIVATE = 8;
const ACTIVATE_AND_MUL = 16;
const IDENTITY = 5;
/** The kind of split_rows for float16: see rows.cu. */
const FLOAT16 = 1;
/** What gated_norm has room for. */
const MOST_NORM_COLUMNS = 24_000;
const MOST_NORM_GROUPS = 64;
/** Kernels for rows that registers have room for, by their columns at most. Others take what is longer. */
const KEPT_NORMS = [
  { name: 'rms_norm_1024', most: 1024 },
  { name: 'rms_norm_3072', most: 3072 },
] as const;
const KEPT_GATED_NORMS = [
  { name: 'gated_norm_2048', most: 2048 },
  { name: 'gated_norm_4096', most: 4096 },
  { name: 'gated_norm_5120', most: 5120 },
  { name: 'gated_norm_8192', most: 8192 },
] as const;
/** Columns of which the kernels take a whole number as a group, unless it is all of the row. */
const KEPT_GROUP = 1024;
/** Columns of a row that every block of a product may norm for itself, without and with a gate. */
const MOST_NORMED_COLUMNS = 4096;
const MOST_GATED_COLUMNS = 8192;
/** How names of products for few rows begin; and outputs of float16 weights from which on a block has 32 of them, not 16. */
const ROW_PRODUCT = 'linear_16x8_';
const MANY_OUTPUTS = 8192;
/** Blocks of one row and weights in blocks, of which a GPU runs about so many at a time; and tiles from which on there are no more. */
const ROW_BLOCKS = 528;
const MANY_ROW_BLOCKS = 2 * ROW_BLOCKS;
/** Shared memory of a block for float16 or bfloat16 weights; with a gated row half of it where the GPU has no more. */
const WEIGHT_BYTES = 65_536;
/** What kernels with a gated row declare besides. */
const DECLARED_BYTES = 2560;
/** Shared memory of a block on every GPU from Ampere on. */
const LEAST_SHARED_BYTES = 101_376;

/** What a norm has that leaves its rows whole. */
const NO_PARTS = {
  ...{ parts: undefined, factors: undefined, padded: 0 },
  ...{ isFloat16: 0, numParts: 0, partsAreInBlocks: 0 },
} as const;

type ProductParams = LinearParams | LinearHalvesParams;
type Product = Launch & { readonly parameters: ProductParams };

/**
 * The first of some launches in a row, together with those after it whose work it can take over. Everything that they write is
 * written, to the same bits, so what reads it later does not matter. No launch may reuse memory that an earlier one of the row
 * reads, except in place.
 *
 * @param sharedBytes of a block that the GPU allows.
 */
export function fuseFirst(
  launches: readonly Launch[],
  sharedBytes = LEAST_SHARED_BYTES,
): { readonly launch: Launch; readonly count: number } {
  const [first] = launches;
  if (isProduct(first)) return fuseOutputs(first, launches);
  if (first.name === 'elementwise') {
    const fused = fuseSum(first, launches, sharedBytes) ?? fuseGatedNorm(first, launches, sharedBytes);
    return fused ?? fuseActivation(first, launches, sharedBytes) ?? { launch: first, count: 1 };
  }
  if (first.name === 'split_rows') return fuseSplit(launches, 0, sharedBytes) ?? { launch: first, count: 1 };
  if (first.name === 'sum_visits') return fuseVisits(first, launches);
  if (first.name === 'rms_norm') return fuseParts(first, launches, 1, sharedBytes);
  return { launch: first, count: 1 };
}

/** A product takes over the convolution of some of its columns, a multiple of it, and a sum of it or that with another tensor. */
function fuseOutputs(product: Product, launches: readonly Launch[]) {
  let launch = product;
  let count = 1;
  for (; count < launches.length; count++) {
    const next = launches[count];
    const fused = withConvolution(launch, next) ?? withScale(launch, next) ?? withSum(launch, next);
    if (!fused) break;
    launch = fused;
  }
  return { launch, count };
}

function withConvolution(product: Product, next: Launch): Product | undefined {
  if (next.name !== 'causal_conv1d_update' || !takesConvolutions(product.name)) return undefined;
  const { out, T, N, convChannels } = product.parameters;
  const { x, B, C, L, K, W, seen, ...rest } = next.parameters;
  if (!out || !x || convChannels > 0 || seen !== undefined || L !== 1 || B !== T || x.stride !== out.stride) {
    return undefined;
  }
  const convFirst = (x.address - out.address) / 4;
  if (!(convFirst >= 0 && convFirst + C <= N)) return undefined;
  return withParameters(product, {
    ...{ convFirst, convChannels: C, convK: K, convW: W, convIsSilu: rest.isSilu, hasConvBias: rest.hasBias },
    ...{ convWeight: rest.weight, convBias: rest.bias, convOut: rest.out },
    ...{ convStates: rest.states, convStateStride: rest.stateStride, convSlots: rest.slots },
  });
}

function withScale(product: Product, next: Launch): Product | undefined {
  const { out, T, N, hasAddend, isScaled } = product.parameters;
  const areLeft = !hasAddend && !isScaled && takesConvolutions(product.name);
  const scaled = areLeft ? scaleOf(out, [T, N], next) : undefined;
  return scaled && withParameters(product, scaled);
}

function withSum(product: Product, next: Launch): Product | undefined {
  const { out, T, N, hasAddend, convOut, isScaled, scaled } = product.parameters;
  if (hasAddend) return undefined;
  const both = sumOf(isScaled ? scaled : out, [T, N], next);
  // Blocks of a kernel run in no order: none may read what another writes.
  const { normY, normOut } = 'normY' in product.parameters ? product.parameters : {};
  if (!both || [out, convOut, normY, normOut].some((written) => isSame(both.addend, written))) return undefined;
  return withParameters(product, { hasAddend: 1, ...both });
}

/** What a launch adds to a tensor (T, C) of those before it, if it does that. */
function sumOf(rows: DeviceRows | undefined, [T, C]: readonly [number, number], next: Launch | undefined) {
  if (next?.name !== 'elementwise' || next.parameters.kind !== ADD) return undefined;
  const { x, y, out: sum } = next.parameters;
  if (next.parameters.T !== T || next.parameters.C !== C || isSame(x, y)) return undefined;
  const addend = isSame(x, rows) ? y : isSame(y, rows) ? x : undefined;
  return addend && { addend, sum };
}

/** The multiple of a tensor (T, C) that a launch makes, if it does that. */
function scaleOf(rows: DeviceRows | undefined, [T, C]: readonly [number, number], next: Launch | undefined) {
  if (next?.name !== 'elementwise' || next.parameters.kind !== SCALE) return undefined;
  const { x, out: scaled, factor: scale } = next.parameters;
  return next.parameters.T === T && next.parameters.C === C && isSame(x, rows)
    ? { isScaled: 1, scale, scaled }
    : undefined;
}

/** The sum of visits takes over one with another tensor, a multiple of that, and the sum with the residual. */
function fuseVisits(visits: LaunchOf<'sum_visits'>, launches: readonly Launch[]) {
  const size = [visits.grid.blocks[1] ?? 1, visits.parameters.C] as const;
  let { parameters } = visits;
  let count = 1;
  let last = parameters.out;
  const others = () => [parameters.out, parameters.sum, parameters.scaled];
  const sum = sumOf(last, size, launches[count]);
  if (sum && !others().some((written) => isSame(sum.addend, written))) {
    parameters = { ...parameters, hasAddend: 1, ...sum };
    last = sum.sum;
    count++;
  }
  const scaled = scaleOf(last, size, launches[count]);
  if (scaled) {
    parameters = { ...parameters, ...scaled };
    last = scaled.scaled;
    count++;
  }
  const total = sumOf(last, size, launches[count]);
  if (total && !others().some((written) => isSame(total.addend, written))) {
    parameters = { ...parameters, hasResidual: 1, residual: total.addend, total: total.sum };
    count++;
  }
  return { launch: { ...visits, parameters }, count };
}

/** A norm takes over the sum that it is of. */
function fuseSum(first: LaunchOf<'elementwise'>, launches: readonly Launch[], sharedBytes: number) {
  const norm = launches[1];
  if (first.parameters.kind !== ADD || norm?.name !== 'rms_norm') return undefined;
  const { x, y: addend, out: sum, C } = first.parameters;
  if (!isSame(norm.parameters.x, sum) || norm.parameters.C !== C || norm.parameters.hasAddend) return undefined;
  if (norm.grid.blocks[0] !== first.parameters.T) return undefined;
  return fuseParts(
    { ...norm, parameters: { ...norm.parameters, x, addend, sum, hasAddend: 1 } },
    launches,
    2,
    sharedBytes,
  );
}

/** A norm takes over the split of its rows. */
function fuseParts(norm: LaunchOf<'rms_norm'>, launches: readonly Launch[], count: number, sharedBytes: number) {
  const parts = partsOf(norm.parameters.out, norm.parameters.C, norm.grid.blocks[0], launches[count]);
  if (!parts) return { launch: keptNorm(norm), count };
  const split = { ...norm, parameters: { ...norm.parameters, ...parts } };
  return fuseRow(split, launches, count + 1, sharedBytes) ?? { launch: keptNorm(split), count: count + 1 };
}

/** A norm by the kernel that is best for its rows. */
function keptNorm(norm: LaunchOf<'rms_norm'>): Launch {
  const { x, addend, sum, weight, out, C, hasAddend } = norm.parameters;
  const kernel = KEPT_NORMS.find(({ most }) => C <= most);
  const rows = [x, out, ...(hasAddend ? [addend, sum] : [])];
  return kernel && areKept(rows, weight, C) ? { ...norm, name: kernel.name } : norm;
}

function keptGatedNorm(norm: LaunchOf<'gated_norm'>): Launch {
  const { x, z, gated, weight, out, C, groups, groupSize } = norm.parameters;
  const kernel = KEPT_GATED_NORMS.find(({ most }) => C <= most);
  const isWhole = groups === 1 || groupSize % KEPT_GROUP === 0;
  if (!kernel || !isWhole || !areKept([x, z, gated, out], weight, C)) return norm;
  return { ...norm, name: kernel.name, grid: { ...norm.grid, sharedBytes: undefined } };
}

/** Whether four neighbours of each row, and of the weights, can be loaded at once. */
function areKept(rows: readonly (DeviceRows | undefined)[], weight: DeviceRows | undefined, C: number): boolean {
  const areAligned = rows.every((x) => x !== undefined && x.address % 16 === 0 && x.stride % 4 === 0);
  return areAligned && weight !== undefined && weight.address % 16 === 0 && weight.stride === 1 && C % 4 === 0;
}

/** The product of a single row takes over its norm: every block does that while its weights are on their way. */
function fuseRow(
  norm: LaunchOf<'rms_norm' | 'gated_norm'>,
  launches: readonly Launch[],
  count: number,
  mostShared: number,
) {
  const { C, padded, weight, out, eps, parts } = norm.parameters;
  const gate = 'gated' in norm.parameters ? norm.parameters : undefined;
  if (norm.grid.blocks[0] !== 1 || C > (gate ? MOST_GATED_COLUMNS : MOST_NORMED_COLUMNS)) return undefined;
  const own = { normWeight: weight, normOut: out, normEps: eps };
  if (!gate) {
    const before = { ...own, ...normBefore(norm as LaunchOf<'rms_norm'>) };
    return fuseRowBefore(launches, count, { parts, padded, kind: 'normed', before, mostShared });
  }
  const before = {
    ...{ ...own, normX: gate.x, normZ: gate.z, normY: gate.gated, normSquareSums: gate.squareSums },
    ...{ normGroups: gate.groups, normGroupSize: gate.groupSize, normCount: gate.count },
  };
  const gatedBytes = 16 * Math.ceil(C / 4);
  return fuseRowBefore(launches, count, { parts, padded, kind: 'gated', before, gatedBytes, mostShared });
}

/** What is to be done to a row before its product, and the shared memory that takes besides. */
interface RowBefore {
  /** The row's parts, and their columns. */
  readonly parts: number | undefined;
  readonly padded: number;
  readonly kind: 'normed' | 'gated' | 'activated';
  readonly before: Partial<LinearHalvesParams>;
  readonly gatedBytes?: number;
  /** Shared memory of a block that the GPU allows. */
  readonly mostShared: number;
}

/** The product of a single row at launch `at`, or after the sums of its parts, takes over what comes before it. */
function fuseRowBefore(
  launches: readonly Launch[],
  at: number,
  { parts, padded, kind, before, gatedBytes = 0, mostShared }: RowBefore,
) {
  const sums = launches[at];
  const hasSums = sums?.name === 'sum_parts' && sums.parameters.x === parts;
  const last = at + (hasSums ? 1 : 0);
  const product = launches[last];
  if (!product || !isRowProduct(product)) return undefined;
  const { parameters, grid } = product;
  if (parameters.x !== parts || (hasSums && parameters.inputSums !== sums.parameters.out)) return undefined;
  const format = product.name.slice(ROW_PRODUCT.length);
  const isInBlocks = !format.endsWith('FLOAT16');
  const outputs = kind === 'normed' && !isInBlocks && parameters.N >= MANY_OUTPUTS ? 32 : 16;
  const rowBytes = 4 * padded + gatedBytes + (isInBlocks ? 16 * Math.ceil(padded / 128) : 0);
  const tiles = Math.ceil(parameters.N / outputs);
  const isLong = !isInBlocks && kind === 'gated' && WEIGHT_BYTES + rowBytes + DECLARED_BYTES > mostShared;
  const near = (count: number) => nearRows(count * outputs, parameters.rowBytes, rowBytes, mostShared);
  // Where there are many, a block has one after another, whose weights take turns with two places.
  const both = isInBlocks && tiles > MANY_ROW_BLOCKS ? near(2) : undefined;
  const hasSeveral = both !== undefined && both.nearPieces > 0;
  const own = { nearPieces: 0, nearBytes: isLong ? WEIGHT_BYTES / 2 : WEIGHT_BYTES };
  const { nearPieces, nearBytes } = hasSeveral ? both : isInBlocks ? near(1) : own;
  const blocks = [hasSeveral ? ROW_BLOCKS : tiles] as const;
  const fused = {
    name: `linear_${isLong ? 'gated_long' : kind}_${outputs}_${format}`,
    grid: { ...grid, blocks, sharedBytes: rowBytes + nearBytes },
    parameters: { ...parameters, ...before, nearPieces },
  } as unknown as Product;
  const rest = fuseOutputs(fused, launches.slice(last));
  return { launch: rest.launch, count: last + rest.count };
}

/** The product of a single row takes over the row's activation and split. */
function fuseActivation(first: LaunchOf<'elementwise'>, launches: readonly Launch[], mostShared: number) {
  const { kind, x, y, out, T, C } = first.parameters;
  const split = launches[1];
  if (kind < ACTIVATE || T !== 1 || split?.name !== 'split_rows') return undefined;
  if (!isSame(split.parameters.x, out) || split.parameters.K !== C) return undefined;
  const isGated = kind >= ACTIVATE_AND_MUL;
  const activation = kind - (isGated ? ACTIVATE_AND_MUL : ACTIVATE);
  return fuseSplit(launches, 1, mostShared, {
    ...{ normX: x, normZ: isGated ? y : undefined, normHasAddend: isGated ? 1 : 0 },
    ...{ normKind: activation, normOut: out },
  });
}

/** The product of a single row takes over the split of its row, and what makes the row of another. */
function fuseSplit(launches: readonly Launch[], at: number, mostShared: number, before?: Partial<LinearHalvesParams>) {
  const split = launches[at];
  if (split?.name !== 'split_rows' || split.grid.blocks[0] !== 1 || split.parameters.K > MOST_NORMED_COLUMNS) {
    return undefined;
  }
  const { x, out: parts, padded } = split.parameters;
  const own = before ?? { normX: x, normHasAddend: 0, normKind: IDENTITY };
  return fuseRowBefore(launches, at + 1, { parts, padded, kind: 'activated', before: own, mostShared });
}

function normBefore({ parameters: { x, addend, sum, hasAddend } }: LaunchOf<'rms_norm'>) {
  return { normX: x, normZ: addend, normY: sum, normHasAddend: hasAddend };
}

function isRowProduct(launch: Launch): launch is Launch & { readonly parameters: LinearHalvesParams } {
  return launch.name.startsWith(ROW_PRODUCT) && 'convChannels' in launch.parameters && launch.parameters.T === 1;
}

/** The gate, its groups' sums of squares, their norm and the split of the rows are one kernel. */
function fuseGatedNorm(gate: LaunchOf<'elementwise'>, launches: readonly Launch[], mostShared: number) {
  const [, sums, norm, split] = launches;
  if (gate.parameters.kind !== SILU_GATE || sums?.name !== 'group_square_sums') return undefined;
  if (norm?.name !== 'scale_by_group_norm' || !norm.parameters.hasWeight) return undefined;
  const { x, y: z, out: gated, T, C } = gate.parameters;
  const { groups, groupSize, firstColumn } = sums.parameters;
  const isWhole = firstColumn === 0 && groups * groupSize === C && sums.parameters.C === C;
  const isOfGate = isSame(sums.parameters.v, gated) && isSame(norm.parameters.v, gated);
  const { squareSums, weight, out, count, eps } = norm.parameters;
  const isOfSums = isSame(squareSums, sums.parameters.out) && norm.parameters.groupSize === groupSize;
  const fits = C <= MOST_NORM_COLUMNS && groups <= MOST_NORM_GROUPS && norm.parameters.T === T;
  if (!isWhole || !isOfGate || !isOfSums || !fits || norm.parameters.firstColumn !== 0) return undefined;
  const parts = partsOf(out, C, T, split);
  const launch: LaunchOf<'gated_norm'> = {
    name: 'gated_norm',
    grid: { blocks: [T], threads: 256, sharedBytes: 16 * Math.ceil(C / 4) },
    parameters: {
      ...{ x, z, gated, squareSums, weight, out, C, groups, groupSize, count, eps },
      ...(parts ?? NO_PARTS),
    },
  };
  if (!parts) return { launch: keptGatedNorm(launch), count: 3 };
  return fuseRow(launch, launches, 4, mostShared) ?? { launch: keptGatedNorm(launch), count: 4 };
}

/** What a kernel needs to split its rows, if a launch does that. */
function partsOf(rows: DeviceRows | undefined, C: number, T: number, split: Launch | undefined) {
  if (split?.name !== 'split_rows' || !isSame(split.parameters.x, rows) || split.parameters.isSpread) return undefined;
  const { K, out, factors, padded, kind, numParts, isInBlocks } = split.parameters;
  if (K !== C || split.grid.blocks[0] !== T) return undefined;
  const isFloat16 = kind === FLOAT16 ? 1 : 0;
  return { parts: out, factors, padded, isFloat16, numParts, partsAreInBlocks: isInBlocks };
}

function isSame(a: DeviceRows | undefined, b: DeviceRows | undefined): boolean {
  return a !== undefined && b !== undefined && a.address === b.address && a.stride === b.stride;
}

function isProduct(launch: Launch): launch is Product {
  return 'convChannels' in launch.parameters && !isPart(launch);
}

/** Whether a launch leaves sums of slices, which are no outputs yet. */
function isPart({ parameters, name }: Launch): boolean {
  return 'slices' in parameters && parameters.slices !== undefined && !name.startsWith('linear_sum');
}

/** Kernels that are small enough to have a convolution in them. */
function takesConvolutions(name: keyof KernelParameters): boolean {
  return !/^linear_(\d+x(16|32|64)|wide)_/.test(name);
}

function withParameters(product: Product, parameters: Partial<LinearHalvesParams>): Product {
  return { ...product, parameters: { ...product.parameters, ...parameters } } as Product;
}
