import { covers, type GpuTensor } from '../device/gpu-tensor.ts';
import type { Lowering } from '../graph/lowering.ts';
import type { LinearOperation } from '../graph/operation.ts';
import type { NormLinearOperation } from '../ops/fused-operation.ts';
import {
  type BlockShape,
  normalisingShape,
  type ProductShape,
  slicedShape,
  type VectorShape,
  vectorShape,
} from './linear-shapes.ts';
import { isConvolvedInFours, isEvenlyPlaced, type LinearTask, linearTask } from './linear-task.ts';

/** Which kernels compute a linear layer, and how they are laid out. */
export type LinearRoute =
  | { readonly kernel: 'vector'; readonly shape: VectorShape }
  /** On rows of float32, which it normalises itself. */
  | { readonly kernel: 'normalising'; readonly shape: BlockShape }
  /** On rows of float16. With `sliced`, workgroups share the inputs, and add-slices adds up what they make of them. */
  | { readonly kernel: 'matrix'; readonly sliced: ProductShape | undefined };

/** Invocations that share a row's sum in to-float16. */
export const NORM_THREADS = 256;
/** Subgroups of add-slices at least: so many groups' squares are summed up there at most. */
export const ADDING_SUBGROUPS = 8;

/** → undefined where the plain forms must do. */
export function linearRoute(
  lowering: Lowering,
  operation: LinearOperation | NormLinearOperation,
): LinearRoute | undefined {
  const task = linearTask(operation);
  if (!fitsKernels(lowering, task)) return undefined;
  const { x, norm, weight } = task;
  const shape = vectorShape(lowering, x.shape[0], weight, norm?.groups ?? 1);
  if (shape) return isForVector(task) ? { kernel: 'vector', shape } : undefined;
  if (!isForMatrices(lowering, task)) return undefined;
  if (operation.type === 'linear') return { kernel: 'matrix', sliced: undefined };
  // Of the whole weight: its parts share the rows.
  const normalising =
    norm && !lowering.handover.rowsOf(operation) && normalisingShape(lowering, x.shape[0], weight, norm.groups);
  if (normalising) return { kernel: 'normalising', shape: normalising };
  return { kernel: 'matrix', sliced: slicedProduct(lowering, operation) };
}

/** How workgroups share the inputs of a layer that is given rows of float16, or undefined where they don't. */
export function slicedProduct(lowering: Lowering, operation: NormLinearOperation): ProductShape | undefined {
  const task = linearTask(operation);
  const { x, norm, weight, bias, residual, convolution, out } = task;
  const next = lowering.handover.after(operation);
  // Adding up is a dispatch of its own, unless it makes the next layer's rows by the way, which would have been one.
  if (next?.type !== 'normLinear' || !takesRows(lowering, next, out)) return undefined;
  if (!residual || bias || convolution || weight.parts.length !== 1 || weight.outFeatures % 8 !== 0) return undefined;
  return isOnMatrices(lowering, task) ? slicedShape(lowering, x.shape[0], weight, norm?.groups ?? 1) : undefined;
}

/** Whether a layer's rows may be made as float16 by who makes x, which is all of its rows. */
function takesRows(lowering: Lowering, operation: NormLinearOperation, x: GpuTensor): boolean {
  return operation.norm.groups === 1 && covers(x, operation.x) && isOnMatrices(lowering, linearTask(operation));
}

function isOnMatrices(lowering: Lowering, task: LinearTask): boolean {
  const isVector = vectorShape(lowering, task.x.shape[0], task.weight, task.norm?.groups ?? 1) !== undefined;
  return fitsKernels(lowering, task) && !isVector && isForMatrices(lowering, task);
}

function fitsKernels({ gpu }: Lowering, task: LinearTask): boolean {
  return isEvenlyPlaced(task) && (!task.convolution || gpu.limits.maxStorageBuffersPerShaderStage >= 9);
}

function isForVector({ norm, bias, residual }: LinearTask): boolean {
  return !(bias && (norm || bias.stride !== 1)) && !(residual && !norm);
}

function isForMatrices(lowering: Lowering, { norm, weight, bias, convolution }: LinearTask): boolean {
  return (
    lowering.usesMatrices &&
    weight.dtype !== 'float32' &&
    weight.inFeatures % 64 === 0 &&
    (!norm || NORM_THREADS % norm.groups === 0) &&
    weight.parts.every(({ firstRow }) => firstRow % 16 === 0) &&
    (!bias || bias.stride === 1) &&
    (!convolution || isConvolvedInFours(convolution))
  );
}
