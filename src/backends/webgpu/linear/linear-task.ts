import type { GpuTensor } from '../device/gpu-tensor.ts';
import type { Convolution } from './convolved-columns.ts';
import type { GpuLinearWeight } from './linear-weight.ts';

/** y = x Wᵀ + bias */
export interface Linear {
  readonly x: GpuTensor;
  readonly weight: GpuLinearWeight;
  readonly bias: GpuTensor | undefined;
  readonly out: GpuTensor;
}

/** x / sqrt(mean(x²) + eps) * weight, over groups of columns. */
export interface RowNorm {
  readonly weight: GpuTensor;
  readonly eps: number;
  readonly groups: number;
}

/** A linear layer of normalised rows, to which a residual is added, or of which some columns are convolved. */
export interface LinearTask extends Linear {
  readonly norm: RowNorm | undefined;
  readonly residual: GpuTensor | undefined;
  readonly convolution: Convolution | undefined;
}

/** A linear layer alone. */
export function plainTask({ x, weight, bias, out }: Linear): LinearTask {
  return { x, norm: undefined, weight, bias, residual: undefined, convolution: undefined, out };
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
