import type { NormLinearOperation, RowNorm } from './fused-operation.ts';
import { type GpuTensor, Storage } from './gpu-tensor.ts';
import {
  fewShape,
  hasSubgroupsOf32,
  matrixShape,
  normalisingShape,
  type VectorShape,
  vectorShape,
} from './linear-shapes.ts';
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
  const vector = vectorShape(lowering, task.x.shape[0], task.weight, task.norm?.groups ?? 1);
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
