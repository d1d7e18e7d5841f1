import type { GpuTensor } from '../device/gpu-tensor.ts';
import type { ConvolutionUpdateOperation, LinearOperation } from '../graph/operation.ts';
import type { NormLinearOperation, RowNorm } from '../ops/fused-operation.ts';
import type { GpuLinearWeight } from './linear-weight.ts';

/** A linear layer with what comes before and behind it. */
export interface LinearTask {
  readonly x: GpuTensor;
  readonly norm: RowNorm | undefined;
  readonly weight: GpuLinearWeight;
  readonly bias: GpuTensor | undefined;
  readonly residual: GpuTensor | undefined;
  readonly convolution: ConvolutionUpdateOperation | undefined;
  readonly out: GpuTensor;
}

export function linearTask(operation: LinearOperation | NormLinearOperation): LinearTask {
  if (operation.type === 'linear') {
    const { x, weight, bias, out } = operation;
    return { x, norm: undefined, weight, bias, residual: undefined, convolution: undefined, out };
  }
  const { x, norm, linear, residual, convolution, out } = operation;
  return { x, norm, weight: linear.weight, bias: linear.bias, residual, convolution, out };
}

/** Whether rows can be read in vectors of eight, and results written in vectors of four. */
export function isEvenlyPlaced({ x, norm, weight, residual, convolution, out }: LinearTask): boolean {
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

/** Whether four channels can be convolved at once. */
export function isConvolvedInFours({ x, states, out }: ConvolutionUpdateOperation): boolean {
  const channels = x.shape[2];
  return [channels, states.offset, states.stride, out.offset, out.stride].every((number) => number % 4 === 0);
}
