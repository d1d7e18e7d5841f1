import { GpuError } from '../../../../errors.ts';
import { covers, type GpuTensor } from '../../device/gpu-tensor.ts';
import type { Fusion, TensorUses } from '../../graph/fuse.ts';
import type { HalfRows } from '../../graph/handover.ts';
import { float16Rows, type Lowering, place } from '../../graph/lowering.ts';
import { defineOperation, lowerParts, type Operation } from '../../graph/operation.ts';
import {
  dispatchProduct,
  lowerNormalising,
  lowerProductAndConvolution,
  lowerVector,
  toFloat16,
} from '../../linear/linear-kernels.ts';
import { linearRoute } from '../../linear/linear-route.ts';
import { normalisingShape, type ProductShape, slicedShape } from '../../linear/linear-shapes.ts';
import type { Linear, LinearTask, RowNorm } from '../../linear/linear-task.ts';
import { CAUSAL_CONV1D_UPDATE, type ConvolutionUpdate } from '../convolution/causal-conv1d-update.ts';
import { GROUP_SQUARE_SUMS } from '../norms/group-square-sums.ts';
import { RMS_NORM } from '../norms/rms-norm.ts';
import { SCALE_BY_GROUP_NORM } from '../norms/scale-by-group-norm.ts';
import { ADD } from '../rows/elementwise.ts';
import { LINEAR } from './linear.ts';

/** out = linear(norm(x)) + residual, of which some columns are convolved instead and go to the convolution's result. */
export interface NormLinear extends LinearTask {
  readonly norm: RowNorm;
  /** Whether no other operation reads x. */
  readonly isOnlyReader: boolean;
  /** The operations that this is made of. */
  readonly parts: readonly Operation[];
}

/** Least number of subgroups in add-slices, and so the largest number of groups with squares that it sums. */
export const ADDING_SUBGROUPS = 8;

export const NORM_LINEAR = defineOperation<NormLinear>({
  name: 'normLinear',
  lower: (lowering, operation) => {
    const { x, norm, weight, parts } = operation;
    const route = linearRoute(lowering, operation);
    if (!route) return lowerParts(lowering, operation, parts);
    if (route.kernel === 'vector') return lowerVector(lowering, operation, route.shape);
    const given = lowering.handover.rowsOf(operation);
    // For the whole weight: its parts share the rows.
    const normalising = given ? undefined : normalisingShape(lowering, x.shape[0], weight, norm.groups);
    if (normalising) return lowerNormalising(lowering, operation, normalising);
    const rows = given ?? { storage: toFloat16(lowering, operation), squares: undefined };
    const shape = slicedProduct(lowering, operation);
    if (shape) lowerSlices(lowering, operation, shape, rows);
    else lowerProductAndConvolution(lowering, operation, rows.storage);
  },
});

/** Division of a layer's inputs among workgroups when rows are float16; undefined if they are not divided. */
export function slicedProduct(lowering: Lowering, operation: Operation<NormLinear>): ProductShape | undefined {
  const { x, norm, weight, bias, residual, convolution, out } = operation;
  const next = lowering.handover.after(operation);
  // Adding up is a dispatch of its own, unless it also makes the next layer's rows, which would have been one.
  if (!NORM_LINEAR.matches(next) || !takesRows(lowering, next, out)) return undefined;
  if (!residual || bias || convolution || weight.parts.length !== 1 || weight.outFeatures % 8 !== 0) return undefined;
  if (linearRoute(lowering, operation)?.kernel !== 'matrix') return undefined;
  return slicedShape(lowering, x.shape[0], weight, norm.groups);
}

/** Whether the producer of x, which is all of a layer's rows, can write them as float16. */
function takesRows(lowering: Lowering, operation: NormLinear, x: GpuTensor): boolean {
  const { norm } = operation;
  return norm.groups === 1 && covers(x, operation.x) && linearRoute(lowering, operation)?.kernel === 'matrix';
}

/** Lowers a product that workgroups share; the dispatch that adds their results also makes the next layer's rows. */
function lowerSlices(
  lowering: Lowering,
  operation: Operation<NormLinear>,
  shape: ProductShape,
  { storage: a, squares }: HalfRows,
): void {
  const { x, norm, weight, residual, out } = operation;
  const { handover, nothing } = lowering;
  const next = handover.after(operation);
  if (!NORM_LINEAR.matches(next)) throw new GpuError('No layer follows that takes the sum of slices.');
  const [T, K, C] = [x.shape[0], weight.inFeatures, weight.outFeatures];
  const { SLICES } = shape.constants;
  const partial = lowering.scratch([T * SLICES, C]);
  dispatchProduct(
    lowering,
    { ...operation, norm: undefined, residual: undefined, out: partial },
    weight.parts[0],
    a,
    shape,
  );
  const normed = float16Rows(lowering, T, C);
  const THREADS = Math.min(C > 1024 ? 512 : 256, lowering.gpu.limits.maxComputeInvocationsPerWorkgroup);
  lowering.dispatch('add-slices', {
    constants: {
      C,
      SLICES,
      THREADS,
      EACH: Math.ceil(C / 4 / THREADS),
      SCALED: Boolean(squares),
      K,
      GROUPS: norm.groups,
      SQUARES: squares?.pieces ?? 0,
    },
    bindings: {
      partial: partial.storage,
      out: out.storage,
      residual: residual?.storage ?? nothing,
      squares: squares?.storage ?? nothing,
      normWeight: next.norm.weight.storage,
      normed,
    },
    fixed: {
      ...place('residual', residual),
      ...place('out', out),
      eps: norm.eps,
      normEps: next.norm.eps,
      normOffset: next.norm.weight.offset,
    },
    workgroups: [1, T, 1],
  });
  handover.giveRows(next, { storage: normed, squares: undefined });
}

// --- fusions --------------------------------------------------------------------------------------------------------

/** Fuses rmsNorm, linear and, when decoding, the convolution of some of the columns. */
export const fuseNormLinear: Fusion = (operations, at, uses) => {
  const [norm, linear, convolution] = operations.slice(at, at + 3);
  if (!RMS_NORM.matches(norm) || !LINEAR.matches(linear)) return undefined;
  if (!covers(norm.out, linear.x) || !uses.isOnlyReadBy(norm.out, linear)) return undefined;
  const convolves = CAUSAL_CONV1D_UPDATE.matches(convolution) && isConvolvedAtOnce(linear, convolution, uses);
  const parts = convolves ? [norm, linear, convolution] : [norm, linear];
  const operation = NORM_LINEAR.of({
    x: norm.x,
    isOnlyReader: uses.isOnlyReadBy(norm.x, norm),
    norm: { weight: norm.weight, eps: norm.eps, groups: 1 },
    weight: linear.weight,
    bias: linear.bias,
    residual: undefined,
    convolution: convolves ? convolution : undefined,
    parts,
    out: linear.out,
  });
  return { operation, count: parts.length };
};

/** Fuses groupSquareSums, scaleByGroupNorm, linear, add: the gated norm, the out-projection and the residual. */
export const fuseGatedNormLinear: Fusion = (operations, at, uses) => {
  const [sums, scale, linear, add] = operations.slice(at, at + 4);
  if (!GROUP_SQUARE_SUMS.matches(sums) || !SCALE_BY_GROUP_NORM.matches(scale) || !LINEAR.matches(linear)) {
    return undefined;
  }
  if (!covers(sums.v, scale.v) || !covers(sums.out, scale.squareSums) || !uses.isOnlyReadBy(sums.out, scale)) {
    return undefined;
  }
  if (!covers(scale.out, linear.x) || !uses.isOnlyReadBy(scale.out, linear)) return undefined;
  const { groupSize, firstColumn } = scale.layout;
  if (firstColumn !== 0 || sums.out.shape[1] * groupSize !== sums.v.shape[1]) return undefined;
  // With both a bias and a residual, kernels would have one buffer too many.
  const added = ADD.matches(add) && !linear.bias ? add : undefined;
  const residual = added && residualOf(linear, added, uses);
  const parts = added && residual ? [sums, scale, linear, added] : [sums, scale, linear];
  const operation = NORM_LINEAR.of({
    x: sums.v,
    isOnlyReader: uses.isOnlyReadBy(sums.v, sums, scale),
    norm: { weight: scale.weight, eps: scale.eps, groups: sums.out.shape[1] },
    weight: linear.weight,
    bias: linear.bias,
    residual,
    convolution: undefined,
    parts,
    out: added && residual ? added.out : linear.out,
  });
  return { operation, count: parts.length };
};

/** The tensor that is added to a linear layer's result, if the result is used for nothing else. */
function residualOf(
  linear: Linear,
  add: Operation<{ readonly x: GpuTensor; readonly y: GpuTensor; readonly out: GpuTensor }>,
  uses: TensorUses,
): GpuTensor | undefined {
  if (!uses.isOnlyReadBy(linear.out, add)) return undefined;
  if (covers(linear.out, add.y) && !covers(linear.out, add.x)) return add.x;
  return covers(linear.out, add.x) && !covers(linear.out, add.y) ? add.y : undefined;
}

/** Whether some columns of a linear layer's result are convolved, one token a row, and used for nothing else. */
function isConvolvedAtOnce(linear: Linear, convolution: Operation<ConvolutionUpdate>, uses: TensorUses): boolean {
  const { x, weight, bias, states, slots, seen } = convolution;
  const [rows, tokens, channels] = x.shape;
  const { out } = linear;
  return (
    !linear.bias &&
    x.storage === out.storage &&
    x.stride === out.stride &&
    rows === out.shape[0] &&
    tokens === 1 &&
    x.offset + channels <= out.offset + out.shape[1] &&
    weight.shape[1] === 4 &&
    states.shape[2] === 3 &&
    states.parts.length === 1 &&
    bias !== undefined &&
    slots !== undefined &&
    seen === undefined &&
    uses.isColumnsOnlyReadBy(x, channels, convolution)
  );
}
