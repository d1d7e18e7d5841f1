import { GpuError } from '../../../errors.ts';
import type { Storage } from '../device/gpu-tensor.ts';
import type { HalfRows } from '../graph/handover.ts';
import { elementGrid, float16Rows, type Lowering, place, rowGrid } from '../graph/lowering.ts';
import type { LinearOperation } from '../graph/operation.ts';
import type { NormLinearOperation } from '../ops/fused-operation.ts';
import { convolutionBindings, convolutionPlaces, isSilu, lowerConvolutionOfFours } from '../ops/lower-state-space.ts';
import { linearRoute, NORM_THREADS } from './linear-route.ts';
import {
  type BlockShape,
  hasSubgroupsOf32,
  type ProductShape,
  productShape,
  sliced,
  type VectorShape,
} from './linear-shapes.ts';
import { isEvenlyPlaced, type LinearTask, linearTask } from './linear-task.ts';
import type { GpuLinearWeight, WeightPart } from './linear-weight.ts';

/** y = x Wᵀ + bias: by the kernel for as many rows, or in the plain form. */
export function lowerLinear(lowering: Lowering, operation: LinearOperation): void {
  const task = linearTask(operation);
  const route = linearRoute(lowering, operation);
  if (route?.kernel === 'vector') lowerVector(lowering, task, route.shape);
  else if (route?.kernel === 'matrix') lowerMatrix(lowering, task, toFloat16(lowering, task));
  else if (isEvenlyPlaced(task)) lowerTiles(lowering, task);
  else lowerPlain(lowering, task);
}

/** → false where its parts must do. */
export function lowerNormLinear(lowering: Lowering, operation: NormLinearOperation): boolean {
  const route = linearRoute(lowering, operation);
  if (!route) return false;
  const task = linearTask(operation);
  if (route.kernel === 'vector') lowerVector(lowering, task, route.shape);
  else if (route.kernel === 'normalising') lowerNormalising(lowering, task, route.shape);
  else {
    const rows = lowering.handover.rowsOf(operation) ?? { storage: toFloat16(lowering, task), squares: undefined };
    if (route.sliced) lowerSlices(lowering, operation, route.sliced, rows);
    else lowerProductAndConvolution(lowering, task, rows.storage);
  }
  return true;
}

// --- few rows -------------------------------------------------------------------------------------------------------

function lowerVector(lowering: Lowering, task: LinearTask, shape: VectorShape): void {
  const { x, norm, weight } = task;
  for (const part of weight.parts) {
    lowering.dispatch(
      'linear-vector',
      {
        ...{ ...weightConstants(weight), ...shape, K: weight.inFeatures, B: x.shape[0], GROUPS: norm?.groups ?? 1 },
        ...{ OUTPUTS: part.rows, RAGGED: part.rows % (shape.ROWS * shape.BLOCKING) !== 0 },
        SUBGROUPS: hasSubgroupsOf32(lowering),
        ...{ NORM: Boolean(norm), ...epilogue(task) },
      },
      {
        bindings: { x: x.storage, ...bindingsOf(lowering, task, part) },
        fixed: placesOf(task, part),
        workgroups: [Math.ceil(part.rows / (shape.ROWS * shape.BLOCKING)), 1, 1],
      },
    );
  }
}

// --- many rows ------------------------------------------------------------------------------------------------------

/** Of rows of float32. */
function lowerNormalising(lowering: Lowering, task: LinearTask, { block, constants }: BlockShape): void {
  const { x, weight, norm } = task;
  const T = x.shape[0];
  for (const part of weight.parts) {
    dispatchProduct(lowering, task, part, x.storage, {
      shader: 'linear-matrix',
      constants: {
        ...{ ...constants, FLOAT16: weight.dtype === 'float16', NORM: true, GROUPS: norm?.groups ?? 1, ...sliced(1) },
      },
      workgroups: [Math.ceil(T / block[0]) * Math.ceil(part.rows / block[1]), 1, 1],
    });
  }
}

/** Of rows of float16. */
function lowerMatrix(lowering: Lowering, task: LinearTask, a: Storage): void {
  const { x, weight } = task;
  for (const part of weight.parts) {
    dispatchProduct(lowering, task, part, a, productShape(lowering, x.shape[0], weight, part.rows));
  }
}

/** The convolution is the product's, unless there are so many rows that its states are better read apart. */
function lowerProductAndConvolution(lowering: Lowering, task: LinearTask, a: Storage): void {
  const { convolution, x } = task;
  const isApart = convolution && x.shape[0] >= lowering.launch.convolvedApartFrom;
  lowerMatrix(lowering, isApart ? { ...task, convolution: undefined } : task, a);
  if (isApart) lowerConvolutionOfFours(lowering, convolution);
}

/** Workgroups share the inputs; adding up what they make also makes the next layer's rows. */
function lowerSlices(
  lowering: Lowering,
  operation: NormLinearOperation,
  shape: ProductShape,
  { storage: a, squares }: HalfRows,
): void {
  const { x, norm, linear, residual, out } = operation;
  const next = lowering.handover.after(operation);
  if (next?.type !== 'normLinear') throw new GpuError('What adds slices up has no layer behind it.');
  const { weight } = linear;
  const [T, K, C] = [x.shape[0], weight.inFeatures, weight.outFeatures];
  const { SLICES } = shape.constants;
  const partial = lowering.scratch([T * SLICES, C]);
  const product: LinearTask = { ...linearTask(operation), norm: undefined, residual: undefined, out: partial };
  dispatchProduct(lowering, product, weight.parts[0], a, shape);
  const normed = float16Rows(lowering, T, C);
  const THREADS = Math.min(C > 1024 ? 512 : 256, lowering.gpu.limits.maxComputeInvocationsPerWorkgroup);
  lowering.dispatch(
    'add-slices',
    {
      ...{ C, SLICES, THREADS, EACH: Math.ceil(C / 4 / THREADS) },
      ...{ SCALED: Boolean(squares), K, GROUPS: norm.groups, SQUARES: squares?.pieces ?? 0 },
    },
    {
      bindings: {
        ...{ partial: partial.storage, out: out.storage, residual: residual?.storage ?? lowering.nothing },
        ...{ squares: squares?.storage ?? lowering.nothing, normWeight: next.norm.weight.storage, normed },
      },
      fixed: {
        ...{ ...place('residual', residual), ...place('out', out) },
        ...{ eps: norm.eps, normEps: next.norm.eps, normOffset: next.norm.weight.offset },
      },
      workgroups: [1, T, 1],
    },
  );
  lowering.handover.giveRows(next, { storage: normed, squares: undefined });
}

/** The task's rows, normalised, as float16 in tiles. */
function toFloat16(lowering: Lowering, { x, norm, weight }: LinearTask): Storage {
  const [T, K] = [x.shape[0], weight.inFeatures];
  const out = float16Rows(lowering, T, K);
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

/** By subgroup matrices, of the rows in `a`. */
function dispatchProduct(
  lowering: Lowering,
  task: LinearTask,
  part: WeightPart,
  a: Storage,
  { shader, constants, workgroups }: ProductShape,
): void {
  const { x, weight } = task;
  lowering.dispatch(
    shader,
    { K: weight.inFeatures, OUTPUTS: part.rows, ...epilogue(task), ...weightConstants(weight), ...constants },
    {
      bindings: { a, ...bindingsOf(lowering, task, part) },
      params: { T: x.shape[0] },
      fixed: placesOf(task, part),
      workgroups,
    },
  );
}

// --- what the kernels share -----------------------------------------------------------------------------------------

/** What becomes of sums. */
function epilogue({ bias, residual, convolution }: LinearTask) {
  const SILU = convolution !== undefined && isSilu(convolution.activation);
  return { BIAS: Boolean(bias), RESIDUAL: Boolean(residual), CONV: Boolean(convolution), SILU };
}

function weightConstants({ dtype, layout, rowWords }: GpuLinearWeight) {
  return { DTYPE: dtype, TILES: layout === 'tiles', ROW_WORDS: rowWords };
}

function bindingsOf(
  lowering: Lowering,
  { norm, bias, residual, convolution, out }: LinearTask,
  { storage }: WeightPart,
) {
  const absent = lowering.nothing;
  return {
    ...{ weight: storage, out: out.storage, bias: bias?.storage ?? absent, residual: residual?.storage ?? absent },
    normWeight: norm?.weight.storage ?? absent,
    ...convolutionBindings(lowering, convolution),
  };
}

/** Where in their buffers operands lie, and what else a layer's kernels are told once and for all. */
function placesOf({ x, norm, bias, residual, convolution, out }: LinearTask, { firstRow }: WeightPart) {
  return {
    ...{ firstOutput: firstRow, ...place('x', x), ...place('out', out) },
    ...{ eps: norm?.eps ?? 0, normOffset: norm?.weight.offset ?? 0 },
    biasOffset: bias?.offset ?? 0,
    ...place('residual', residual),
    convBegin: convolution ? (convolution.x.offset - out.offset) % out.stride : 0,
    ...convolutionPlaces(convolution),
  };
}

// --- without subgroup matrices --------------------------------------------------------------------------------------

function lowerTiles(lowering: Lowering, { x, weight, bias, out }: LinearTask): void {
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

function lowerPlain(lowering: Lowering, { x, weight, bias, out }: LinearTask): void {
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
