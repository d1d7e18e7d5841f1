import type { Storage } from '../device/gpu-tensor.ts';
import { elementGrid, float16Rows, type Lowering, place, rowGrid } from '../graph/lowering.ts';
import { convolutionBindings, convolutionPlaces, convolveInFours, isSilu } from './convolved-columns.ts';
import { NORM_THREADS } from './linear-route.ts';
import {
  type BlockShape,
  hasSubgroupsOf32,
  type ProductShape,
  productShape,
  sliced,
  type VectorShape,
} from './linear-shapes.ts';
import type { LinearTask } from './linear-task.ts';
import { type GpuLinearWeight, singleWeightConstants, type WeightPart } from './linear-weight.ts';

// --- few rows -------------------------------------------------------------------------------------------------------

export function lowerVector(lowering: Lowering, task: LinearTask, shape: VectorShape): void {
  const { x, norm, weight } = task;
  for (const part of weight.parts) {
    lowering.dispatch('linear-vector', {
      constants: {
        ...weightConstants(weight),
        ...shape,
        K: weight.inFeatures,
        B: x.shape[0],
        GROUPS: norm?.groups ?? 1,
        OUTPUTS: part.rows,
        RAGGED: part.rows % (shape.ROWS * shape.BLOCKING) !== 0,
        SUBGROUPS: hasSubgroupsOf32(lowering),
        NORM: Boolean(norm),
        ...epilogue(task),
      },
      bindings: { x: x.storage, ...bindingsOf(lowering, task, part) },
      fixed: placesOf(task, part),
      workgroups: [Math.ceil(part.rows / (shape.ROWS * shape.BLOCKING)), 1, 1],
    });
  }
}

// --- many rows, by subgroup matrices ----------------------------------------------------------------------------------

/** Multiplies rows of float32, which the kernel normalises itself. */
export function lowerNormalising(lowering: Lowering, task: LinearTask, { block, constants }: BlockShape): void {
  const { x, weight, norm } = task;
  const T = x.shape[0];
  for (const part of weight.parts) {
    dispatchProduct(lowering, task, part, x.storage, {
      shader: 'linear-matrix',
      constants: {
        ...constants,
        FLOAT16: weight.dtype === 'float16',
        NORM: true,
        GROUPS: norm?.groups ?? 1,
        ...sliced(1),
      },
      workgroups: [Math.ceil(T / block[0]) * Math.ceil(part.rows / block[1]), 1, 1],
    });
  }
}

/** Multiplies the rows of float16 in `a`. */
export function lowerMatrix(lowering: Lowering, task: LinearTask, a: Storage): void {
  const { x, weight } = task;
  for (const part of weight.parts) {
    dispatchProduct(lowering, task, part, a, productShape(lowering, x.shape[0], weight, part.rows));
  }
}

/** Lowers like {@link lowerMatrix}, but convolves many rows in a dispatch of its own, which reads states faster. */
export function lowerProductAndConvolution(lowering: Lowering, task: LinearTask, a: Storage): void {
  const { convolution, x } = task;
  const isApart = convolution && x.shape[0] >= lowering.launch.convolvedApartFrom;
  lowerMatrix(lowering, isApart ? { ...task, convolution: undefined } : task, a);
  if (isApart) convolveInFours(lowering, convolution);
}

/** The task's rows, normalised, as float16 in tiles. */
export function toFloat16(lowering: Lowering, { x, norm, weight }: LinearTask): Storage {
  const [T, K] = [x.shape[0], weight.inFeatures];
  const out = float16Rows(lowering, T, K);
  lowering.dispatch('to-float16', {
    constants: { K, NORM: Boolean(norm), GROUPS: norm?.groups ?? 1, THREADS: NORM_THREADS },
    bindings: { x: x.storage, out, weight: norm?.weight.storage ?? lowering.nothing },
    params: { T, ...place('x', x), eps: norm?.eps ?? 0, weightOffset: norm?.weight.offset ?? 0 },
    workgroups: rowGrid(1, T),
  });
  return out;
}

/** Multiplies the rows in `a` with a part of the weight. */
export function dispatchProduct(
  lowering: Lowering,
  task: LinearTask,
  part: WeightPart,
  a: Storage,
  { shader, constants, workgroups }: ProductShape,
): void {
  const { x, weight } = task;
  lowering.dispatch(shader, {
    constants: {
      K: weight.inFeatures,
      OUTPUTS: part.rows,
      ...epilogue(task),
      ...weightConstants(weight),
      ...constants,
    },
    bindings: { a, ...bindingsOf(lowering, task, part) },
    params: { T: x.shape[0] },
    fixed: placesOf(task, part),
    workgroups,
  });
}

// --- what the kernels share -----------------------------------------------------------------------------------------

/** Constants that say what is done with sums. */
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
  const { nothing } = lowering;
  return {
    weight: storage,
    out: out.storage,
    bias: bias?.storage ?? nothing,
    residual: residual?.storage ?? nothing,
    normWeight: norm?.weight.storage ?? nothing,
    ...convolutionBindings(lowering, convolution),
  };
}

/** Places of operands in their buffers, and the other numbers that a layer's kernels are compiled for. */
function placesOf({ x, norm, bias, residual, convolution, out }: LinearTask, { firstRow }: WeightPart) {
  return {
    firstOutput: firstRow,
    ...place('x', x),
    ...place('out', out),
    eps: norm?.eps ?? 0,
    normOffset: norm?.weight.offset ?? 0,
    biasOffset: bias?.offset ?? 0,
    ...place('residual', residual),
    convBegin: convolution ? (convolution.x.offset - out.offset) % out.stride : 0,
    ...convolutionPlaces(convolution),
  };
}

// --- without subgroup matrices --------------------------------------------------------------------------------------

/** Multiplies in float32, 64 x 64 outputs at a time; rows and weights are evenly placed. */
export function lowerTiles(lowering: Lowering, { x, weight, bias, out }: LinearTask): void {
  const T = x.shape[0];
  for (const { firstRow, rows, storage } of weight.parts) {
    lowering.dispatch('linear-tile', {
      constants: {
        ...weightConstants(weight),
        K: weight.inFeatures,
        MATRIX: false,
        LEFT_ALONG_K: true,
        RIGHT_ALONG_K: true,
      },
      bindings: { x: x.storage, weight: storage, bias: bias?.storage ?? lowering.nothing, out: out.storage },
      params: {
        T,
        outputs: rows,
        firstOutput: firstRow,
        ...place('x', x),
        ...place('out', out),
        hasBias: bias ? 1 : 0,
        biasOffset: bias?.offset ?? 0,
      },
      workgroups: rowGrid(Math.ceil(rows / 64), Math.ceil(T / 64)),
    });
  }
}

/** Multiplies output by output, wherever operands lie. */
export function lowerPlain(lowering: Lowering, { x, weight, bias, out }: LinearTask): void {
  const T = x.shape[0];
  for (const { firstRow, rows, storage } of weight.parts) {
    lowering.dispatch('linear', {
      constants: singleWeightConstants(weight),
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
    });
  }
}
