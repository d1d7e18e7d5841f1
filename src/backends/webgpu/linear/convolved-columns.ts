import type { Activation } from '../../contract/convolution.ts';
import type { GpuIndices, GpuTensor } from '../device/gpu-tensor.ts';
import { elementGrid, type Lowering, place } from '../graph/lowering.ts';

/** One step of a causal convolution of each row's channels. When decoding, it follows the in-projection. */
export interface Convolution {
  /** (rows, tokens, channels) */
  readonly x: GpuTensor;
  readonly weight: GpuTensor;
  readonly bias: GpuTensor | undefined;
  readonly activation: Activation | undefined;
  readonly states: GpuTensor;
  readonly slots: GpuIndices | undefined;
  readonly out: GpuTensor;
}

export function isSilu(activation: Activation | undefined): boolean {
  return activation === 'silu' || activation === 'swish';
}

/** Whether four channels can be convolved together. */
export function isConvolvedInFours({ x, states, out }: Convolution): boolean {
  const channels = x.shape[2];
  return [channels, states.offset, states.stride, out.offset, out.stride].every((number) => number % 4 === 0);
}

/** Convolves four channels together, in a dispatch of its own: see {@link isConvolvedInFours}. */
export function convolveInFours(lowering: Lowering, convolution: Convolution): void {
  const { x, activation } = convolution;
  const [T, , C] = x.shape;
  const ROWS = T >= lowering.launch.convolvedTogetherFrom ? 4 : 1;
  lowering.dispatch('causal-conv1d-fours', {
    constants: { SILU: isSilu(activation), ROWS },
    bindings: { x: x.storage, ...convolutionBindings(lowering, convolution) },
    params: { T },
    fixed: { ...place('x', x), ...convolutionPlaces(convolution) },
    workgroups: elementGrid(C / 4, Math.ceil(T / ROWS)),
  });
}

/** Buffers of kernels that convolve their results, by the names in convolve.wgsl; `nothing` if they do not. */
export function convolutionBindings({ nothing }: Lowering, convolution: Convolution | undefined) {
  return {
    convWeight: convolution?.weight.storage ?? nothing,
    convBias: convolution?.bias?.storage ?? nothing,
    slots: convolution?.slots?.storage ?? nothing,
    convStates: convolution?.states.storage ?? nothing,
    convolved: convolution?.out.storage ?? nothing,
  };
}

/** Places of a convolution's operands, by the names in convolution-places.wgsl. */
export function convolutionPlaces(convolution: Convolution | undefined) {
  return {
    C: convolution?.x.shape[2] ?? 0,
    ...place('states', convolution?.states),
    convWeightOffset: convolution?.weight.offset ?? 0,
    convBiasOffset: convolution?.bias?.offset ?? 0,
    ...place('convolved', convolution?.out),
  };
}
