import type { NormLinearOperation, RowNorm } from './fused-operation.ts';
import { type GpuTensor, Storage } from './gpu-tensor.ts';
import type { MatrixShape, VectorLaunch } from './launch/launch-parameters.ts';
import type { GpuLinearWeight, WeightPart } from './linear-weight.ts';
import { elementGrid, type Lowering, place, rowGrid } from './lowering.ts';
import type { ConvolutionUpdateOperation, LinearOperation } from './operation.ts';

/** A linear layer with what comes before and behind it in the same dispatches. */
interface Task {
  readonly x: GpuTensor;
  readonly norm: RowNorm | undefined;
  readonly weight: GpuLinearWeight;
  readonly bias: GpuTensor | undefined;
  readonly residual: GpuTensor | undefined;
  readonly convolution: ConvolutionUpdateOperation | undefined;
  readonly out: GpuTensor;
}

/** Invocations that share a row's sum in to-float16. */
const NORM_THREADS = 256;

/** y = x Wᵀ + bias: by the kernel for as many rows, or in the plain form. */
export function lowerLinear(lowering: Lowering, { x, weight, bias, out }: LinearOperation): void {
  const task = { x, norm: undefined, weight, bias, residual: undefined, convolution: undefined, out };
  if (lowerTask(lowering, task)) return;
  if (isEvenlyPlaced(task)) lowerTiles(lowering, task);
  else lowerPlain(lowering, task);
}

/** → false where its parts must do. */
export function lowerNormLinear(lowering: Lowering, operation: NormLinearOperation): boolean {
  const { x, norm, linear, residual, convolution, out } = operation;
  const { weight, bias } = linear;
  return lowerTask(lowering, { x, norm, weight, bias, residual, convolution, out });
}

function lowerTask(lowering: Lowering, task: Task): boolean {
  if (!isEvenlyPlaced(task) || (task.convolution && lowering.gpu.limits.maxStorageBuffersPerShaderStage < 9)) {
    return false;
  }
  const usesMatrices = lowering.usesMatrices && task.weight.dtype !== 'float32' && task.weight.inFeatures % 64 === 0;
  const vector = vectorShape(lowering, task);
  if (vector) return lowerVector(lowering, task, vector);
  if (!usesMatrices || (task.norm && NORM_THREADS % task.norm.groups !== 0)) return false;
  if (task.weight.parts.some(({ firstRow }) => firstRow % 16 !== 0) || (task.bias && task.bias.stride !== 1)) {
    return false;
  }
  // Four channels' convolution at once.
  if (task.convolution && !isConvolvedInFours(task.convolution)) return false;
  lowerMatrix(lowering, task);
  return true;
}

/** Whether rows can be read in vectors of eight, and results written in vectors of four. */
function isEvenlyPlaced({ x, norm, weight, residual, convolution, out }: Task): boolean {
  const places = [x, out, norm?.weight, residual, convolution?.weight].filter((tensor) => tensor !== undefined);
  return (
    weight.inFeatures > 0 &&
    weight.inFeatures % 8 === 0 &&
    (!norm || (weight.inFeatures / norm.groups) % 8 === 0) &&
    (!norm || norm.weight.stride === 1) &&
    places.every(({ parts, offset }) => parts.length === 1 && offset % 4 === 0) &&
    [x, out, residual].every((tensor) => !tensor || tensor.stride % 4 === 0) &&
    (!convolution || (convolution.weight.stride === 4 && (convolution.x.offset - out.offset) % 4 === 0))
  );
}

function isConvolvedInFours({ x, states, out }: ConvolutionUpdateOperation): boolean {
  const channels = x.shape[2];
  return [channels, states.offset, states.stride, out.offset, out.stride].every((number) => number % 4 === 0);
}

// --- few rows -------------------------------------------------------------------------------------------------------

interface VectorShape {
  readonly ROWS: number;
  readonly BLOCKING: number;
  readonly PARTS: number;
  readonly AHEAD: number;
  readonly PARTIAL: boolean;
}

/** How linear-vector is laid out for these rows, or undefined where it does not fit. */
function vectorShape(lowering: Lowering, { x, norm, weight }: Task): VectorShape | undefined {
  const B = x.shape[0];
  const groups = norm?.groups ?? 1;
  for (const shape of lowering.launch.vector) {
    const { maxRows, minWorkgroups, blocking } = shape;
    if (B > maxRows || weight.outFeatures / (shape.rows * blocking) < minWorkgroups) continue;
    for (let patches = blocking; patches >= 1; patches /= 2) {
      const found = vectorParts(lowering, shape, { B, groups, patches, weight });
      if (found) return found;
    }
  }
  return undefined;
}

/** With as few parts as keep the device busy. */
function vectorParts(
  { gpu }: Lowering,
  { rows, busy, maxParts, ahead }: VectorLaunch,
  { B, groups, patches, weight }: { B: number; groups: number; patches: number; weight: GpuLinearWeight },
): VectorShape | undefined {
  const { maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup } = gpu.limits;
  const across = 32 / rows;
  const eights = weight.inFeatures / 8;
  const fits = (parts: number) =>
    32 * parts <= maxComputeInvocationsPerWorkgroup &&
    // An invocation puts one result at most.
    patches * rows * B <= 32 * parts &&
    4 * parts * across * B * (patches * rows + 1) <= maxComputeWorkgroupStorageSize;
  const isWhole = (parts: number) => eights % (parts * across) === 0;
  // A group's inputs are some parts' and no others'.
  const isGrouped = (parts: number) => groups === 1 || (parts % groups === 0 && isWhole(parts));
  const workgroups = Math.ceil(weight.outFeatures / (rows * patches));
  const possible = [4, 6, 8, 12, 16].filter((parts) => parts <= maxParts && fits(parts) && isGrouped(parts));
  const whole = possible.filter(isWhole);
  const candidates = whole.length > 0 ? whole : possible;
  const PARTS = candidates.find((parts) => parts * workgroups >= busy) ?? candidates.at(-1);
  if (PARTS === undefined) return undefined;
  const steps = Math.ceil(eights / (PARTS * across));
  const AHEAD = Math.min(ahead, steps);
  return { ROWS: rows, BLOCKING: patches, PARTS, AHEAD, PARTIAL: !isWhole(PARTS) || steps % AHEAD !== 0 };
}

function lowerVector(lowering: Lowering, task: Task, shape: VectorShape): boolean {
  const { x, norm, weight, bias, residual, convolution } = task;
  if ((bias && (norm || bias.stride !== 1)) || (residual && !norm)) return false;
  for (const part of weight.parts) {
    lowering.dispatch(
      'linear-vector',
      {
        ...{ ...weightConstants(weight), ...shape, K: weight.inFeatures, B: x.shape[0], GROUPS: norm?.groups ?? 1 },
        ...{ OUTPUTS: part.rows, RAGGED: part.rows % (shape.ROWS * shape.BLOCKING) !== 0 },
        SUBGROUPS: hasSubgroupsOf32(lowering),
        PLAIN: x.offset === 0 && x.stride === weight.inFeatures && (norm?.weight.offset ?? 0) === 0,
        ...{ NORM: Boolean(norm), BIAS: Boolean(bias), RESIDUAL: Boolean(residual), CONV: Boolean(convolution) },
      },
      {
        bindings: {
          ...{ x: x.storage, ...bindingsOf(lowering, task, part) },
          normWeight: norm?.weight.storage ?? lowering.nothing,
        },
        params: {
          ...{ ...paramsOf(task, part), ...place('x', x), eps: norm?.eps ?? 0, normOffset: norm?.weight.offset ?? 0 },
        },
        workgroups: [Math.ceil(part.rows / (shape.ROWS * shape.BLOCKING)), 1, 1],
      },
    );
  }
  return true;
}

// --- many rows ------------------------------------------------------------------------------------------------------

function lowerMatrix(lowering: Lowering, task: Task): void {
  const { x, norm, weight, bias, residual, convolution } = task;
  const [T, K] = [x.shape[0], weight.inFeatures];
  const GROUPS = norm?.groups ?? 1;
  const behind = { BIAS: Boolean(bias), RESIDUAL: Boolean(residual), CONV: Boolean(convolution) };
  // Of the whole weight: its parts share the rows.
  const normalising = norm && normalisingShape(lowering, T, weight, GROUPS);
  const a = normalising ? x.storage : toFloat16(lowering, task);
  for (const part of weight.parts) {
    const few = normalising ? undefined : fewShape(lowering, T, weight);
    const bindings = { a, ...bindingsOf(lowering, task, part), normWeight: norm?.weight.storage ?? lowering.nothing };
    const params = {
      ...{ ...paramsOf(task, part), T, ...place('x', x), eps: norm?.eps ?? 0, normOffset: norm?.weight.offset ?? 0 },
    };
    const constants = { K, OUTPUTS: part.rows, ...behind };
    if (few) {
      const workgroups = [Math.ceil(part.rows / (16 * few.N16)), 1, 1] as const;
      lowering.dispatch('linear-matrix-few', { ...constants, ...few }, { bindings, params, workgroups });
      continue;
    }
    const { block, ...shape } = normalising ?? matrixShape(lowering, T, part.rows, K);
    const workgroups = [Math.ceil(T / block[0]) * Math.ceil(part.rows / block[1]), 1, 1] as const;
    const form = { FLOAT16: weight.dtype === 'float16', NORM: Boolean(normalising), GROUPS };
    lowering.dispatch(
      'linear-matrix',
      { ...constants, ...shape, ...weightConstants(weight), ...form },
      { bindings, params, workgroups },
    );
  }
}

/** The task's rows, normalised, as float16 in tiles. */
function toFloat16(lowering: Lowering, { x, norm, weight }: Task): Storage {
  const [T, K] = [x.shape[0], weight.inFeatures];
  const out = new Storage(lowering.owner, 2 * 16 * Math.ceil(T / 16) * K);
  lowering.dispatch(
    'to-float16',
    { K, NORM: Boolean(norm), GROUPS: norm?.groups ?? 1, THREADS: NORM_THREADS },
    {
      bindings: { x: x.storage, out, weight: norm?.weight.storage ?? lowering.nothing },
      params: { T, ...place('x', x), eps: norm?.eps ?? 0, weightOffset: norm?.weight.offset ?? 0 },
      workgroups: rowGrid(1, T),
    },
  );
  return out;
}

/** How linear-matrix-few is laid out for these rows, or undefined where it does not fit. */
function fewShape({ launch, gpu }: Lowering, T: number, { layout, outFeatures, inFeatures }: GpuLinearWeight) {
  if (layout !== 'tiles') return undefined;
  const M16 = Math.ceil(T / 16);
  const shape = launch.matrixFew.find(
    ({ maxRows, minOutputs, maxOutputs, minInputs, parts, panels }) =>
      T <= maxRows &&
      outFeatures >= minOutputs &&
      outFeatures <= maxOutputs &&
      inFeatures >= minInputs &&
      1024 * parts * panels * M16 <= gpu.limits.maxComputeWorkgroupStorageSize,
  );
  if (!shape) return undefined;
  const { panels, parts, ahead } = shape;
  // As many at once as leave no rest, which would wait for each by itself.
  const steps = Math.floor(inFeatures / 16 / parts);
  const AHEAD = dividing(Math.max(1, steps), ahead);
  return { M16, N16: panels, PARTS: parts, AHEAD, EACH: Math.ceil((2 * M16 * panels) / parts) };
}

/** The greatest divisor of a number that is no greater than `most`. */
function dividing(value: number, most: number): number {
  let divisor = Math.min(value, most);
  while (value % divisor !== 0) divisor--;
  return divisor;
}

/** How linear-matrix is laid out: its constants, and its block. */
function matrixShape(lowering: Lowering, T: number, outputs: number, inputs: number) {
  const shapes = fittingShapes(lowering, inputs).filter(({ shape }) => !shape.normalises);
  const found = shapes.find(
    ({ shape }) => T <= shape.maxRows && workgroupsOf(shape, T, outputs) >= shape.minWorkgroups,
  );
  const { shape, constants } = found ?? shapes[shapes.length - 1];
  return { block: shape.block, ...constants };
}

/** The same where it normalises its rows itself, or undefined where another kernel does before. */
function normalisingShape(lowering: Lowering, T: number, weight: GpuLinearWeight, groups: number) {
  const { outFeatures, inFeatures } = weight;
  const found = fittingShapes(lowering, inFeatures).find(
    ({ shape, constants: { SPLIT } }) =>
      shape.normalises &&
      inFeatures <= shape.normalises.maxInputs &&
      T <= shape.maxRows &&
      workgroupsOf(shape, T, outFeatures) >= shape.minWorkgroups &&
      // A part's inputs are one group's.
      SPLIT % groups === 0,
  );
  return found && { block: found.shape.block, ...found.constants };
}

/** All that the device has memory and invocations for. */
function fittingShapes({ launch, gpu }: Lowering, inputs: number) {
  const { maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup, maxStorageBuffersPerShaderStage } =
    gpu.limits;
  return launch.matrix
    .map((shape) => ({ shape, constants: matrixConstants(shape, inputs) }))
    .filter(({ shape: { block, depth, normalises }, constants: { SHARED, SPLIT, THREADS } }) => {
      // Sums of squares, and at most as many scales as parts.
      const ofNorm = normalises ? 4 * block[0] * SPLIT * (depth / 8 + 1) : 0;
      return (
        16 * SHARED + ofNorm <= maxComputeWorkgroupStorageSize &&
        THREADS <= maxComputeInvocationsPerWorkgroup &&
        (!normalises || maxStorageBuffersPerShaderStage >= 9)
      );
    });
}

function workgroupsOf({ block: [BM, BN] }: MatrixShape, T: number, outputs: number): number {
  return Math.ceil(T / BM) * Math.ceil(outputs / BN);
}

function matrixConstants(
  { block: [BM, BN], depth: BK, piece: [WM, WN], band, split, stages }: MatrixShape,
  inputs: number,
) {
  const subgroups = (BM / WM) * (BN / WN);
  const SPLIT = dividing(inputs / BK, split);
  const ofPart = 32 * subgroups;
  return {
    ...{ BM, BN, BK, WM, WN, BAND: band, SPLIT, STAGES: stages, THREADS: SPLIT * ofPart },
    ...{ FRAGMENTS_DOWN: WM / 16, FRAGMENTS_ACROSS: WN / 16, STEPS: BK / 16 },
    ...{ A_LOADS: (BM * BK) / 8 / ofPart, W_LOADS: (BN * BK) / 8 / ofPart },
    SHARED: SPLIT * Math.max((BM + BN) * (BK / 8 + 1), 4 * subgroups * WN),
  };
}

/** Whether subgroups are of 32 invocations, neighbours in a workgroup of one dimension. */
function hasSubgroupsOf32({ gpu: { features, info } }: Lowering): boolean {
  return features.has('subgroups') && info.subgroupMinSize === 32 && info.subgroupMaxSize === 32;
}

// --- what the kernels share -----------------------------------------------------------------------------------------

function weightConstants({ dtype, layout, rowWords }: GpuLinearWeight) {
  return { DTYPE: dtype, TILES: layout === 'tiles', ROW_WORDS: rowWords };
}

function bindingsOf(lowering: Lowering, { bias, residual, convolution, out }: Task, { storage }: WeightPart) {
  const absent = lowering.nothing;
  return {
    ...{ weight: storage, out: out.storage, bias: bias?.storage ?? absent, residual: residual?.storage ?? absent },
    convWeight: convolution?.weight.storage ?? absent,
    convBias: convolution?.bias?.storage ?? absent,
    slots: convolution?.slots?.storage ?? absent,
    convStates: convolution?.states.storage ?? absent,
    convolved: convolution?.out.storage ?? absent,
  };
}

function paramsOf({ bias, residual, convolution, out }: Task, { firstRow }: WeightPart) {
  return {
    ...{ firstOutput: firstRow, ...place('out', out) },
    biasOffset: bias?.offset ?? 0,
    ...place('residual', residual),
    convBegin: convolution ? (convolution.x.offset - out.offset) % out.stride : 0,
    C: convolution?.x.shape[2] ?? 0,
    silu: convolution?.activation === 'silu' || convolution?.activation === 'swish' ? 1 : 0,
    ...place('states', convolution?.states),
    convWeightOffset: convolution?.weight.offset ?? 0,
    convBiasOffset: convolution?.bias?.offset ?? 0,
    ...place('convolved', convolution?.out),
  };
}

// --- without subgroup matrices --------------------------------------------------------------------------------------

function lowerTiles(lowering: Lowering, { x, weight, bias, out }: Task): void {
  const T = x.shape[0];
  for (const { firstRow, rows, storage } of weight.parts) {
    lowering.dispatch(
      'linear-tile',
      { ...weightConstants(weight), K: weight.inFeatures, MATRIX: false, LEFT_ALONG_K: true, RIGHT_ALONG_K: true },
      {
        bindings: { x: x.storage, weight: storage, bias: bias?.storage ?? lowering.nothing, out: out.storage },
        params: {
          ...{ T, outputs: rows, firstOutput: firstRow, ...place('x', x), ...place('out', out) },
          ...{ hasBias: bias ? 1 : 0, biasOffset: bias?.offset ?? 0 },
        },
        workgroups: rowGrid(Math.ceil(rows / 64), Math.ceil(T / 64)),
      },
    );
  }
}

function lowerPlain(lowering: Lowering, { x, weight, bias, out }: Task): void {
  const T = x.shape[0];
  for (const { firstRow, rows, storage } of weight.parts) {
    lowering.dispatch(
      'linear',
      { DTYPE: weight.format },
      {
        bindings: { x: x.storage, weight: storage, bias: bias?.storage ?? lowering.nothing, out: out.storage },
        params: {
          T,
          K: weight.inFeatures,
          outputs: rows,
          firstOutput: firstRow,
          rowWords: weight.rowWords,
          hasBias: bias ? 1 : 0,
          ...place('x', x),
          ...place('bias', bias),
          ...place('out', out),
        },
        workgroups: elementGrid(rows, T),
      },
    );
  }
}
