import type { Lowering } from '../graph/lowering.ts';
import { isConvolvedInFours } from './convolved-columns.ts';
import { type VectorShape, vectorShape } from './linear-shapes.ts';
import { isEvenlyPlaced, type LinearTask } from './linear-task.ts';

/** The kernel that computes a linear layer, and its layout. */
export type LinearRoute =
  | { readonly kernel: 'vector'; readonly shape: VectorShape }
  /** Multiplies by subgroup matrices. */
  | { readonly kernel: 'matrix' };

/** Invocations that share a row's sum in to-float16. */
export const NORM_THREADS = 256;

/** Returns undefined where the plain forms must do. */
export function linearRoute(lowering: Lowering, task: LinearTask): LinearRoute | undefined {
  if (!fitsKernels(lowering, task)) return undefined;
  const { x, norm, weight } = task;
  const shape = vectorShape(lowering, x.shape[0], weight, norm?.groups ?? 1);
  if (shape) return isForVector(task) ? { kernel: 'vector', shape } : undefined;
  return isForMatrices(lowering, task) ? { kernel: 'matrix' } : undefined;
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
