import { covers, type GpuTensor } from '../device/gpu-tensor.ts';
import type { Fusion, TensorUses } from '../graph/fuse.ts';
import type {
  ConvolutionUpdateOperation,
  ElementwiseOperation,
  LinearOperation,
  Operation,
} from '../graph/operation.ts';

/** Neighbours that one kernel computes at once. */
export const FUSIONS: readonly Fusion[] = [fuseNormLinear, fuseGatedNormLinear, fuseGatedStateSpace];

/** rmsNorm, linear and, when decoding, the convolution of some of the columns. */
function fuseNormLinear(operations: readonly Operation[], at: number, uses: TensorUses) {
  const [norm, linear, convolution] = operations.slice(at, at + 3);
  if (norm?.type !== 'rmsNorm' || linear?.type !== 'linear') return undefined;
  if (!covers(norm.out, linear.x) || !uses.isOnlyReadBy(norm.out, linear)) return undefined;
  const convolves = convolution?.type === 'causalConv1dUpdate' && isConvolvedAtOnce(linear, convolution, uses);
  const parts = convolves ? [norm, linear, convolution] : [norm, linear];
  return {
    operation: {
      type: 'normLinear' as const,
      x: norm.x,
      isOnlyReader: uses.isOnlyReadBy(norm.x, norm),
      norm: { weight: norm.weight, eps: norm.eps, groups: 1 },
      linear,
      residual: undefined,
      convolution: convolves ? convolution : undefined,
      parts,
      out: linear.out,
    },
    count: parts.length,
  };
}

/** groupSquareSums, scaleByGroupNorm, linear, add: the gated norm, the out-projection and the residual. */
function fuseGatedNormLinear(operations: readonly Operation[], at: number, uses: TensorUses) {
  const [sums, scale, linear, add] = operations.slice(at, at + 4);
  if (sums?.type !== 'groupSquareSums' || scale?.type !== 'scaleByGroupNorm' || linear?.type !== 'linear') {
    return undefined;
  }
  if (!covers(sums.v, scale.v) || !covers(sums.out, scale.squareSums) || !uses.isOnlyReadBy(sums.out, scale)) {
    return undefined;
  }
  if (!covers(scale.out, linear.x) || !uses.isOnlyReadBy(scale.out, linear)) return undefined;
  const { groupSize, firstColumn } = scale.layout;
  if (firstColumn !== 0 || sums.out.shape[1] * groupSize !== sums.v.shape[1]) return undefined;
  // A bias and what is added to it would be one too many for kernels.
  const isAdd = add?.type === 'add' && !linear.bias;
  const residual = isAdd ? residualOf(linear, add, uses) : undefined;
  const parts = isAdd && residual ? [sums, scale, linear, add] : [sums, scale, linear];
  return {
    operation: {
      type: 'normLinear' as const,
      x: sums.v,
      isOnlyReader: uses.isOnlyReadBy(sums.v, sums, scale),
      norm: { weight: scale.weight, eps: scale.eps, groups: sums.out.shape[1] },
      linear,
      residual,
      convolution: undefined,
      parts,
      out: isAdd && residual ? add.out : linear.out,
    },
    count: parts.length,
  };
}

/** The recurrence, or one step of it, and the gate behind it. */
function fuseGatedStateSpace(operations: readonly Operation[], at: number, uses: TensorUses) {
  const [stateSpace, gate] = operations.slice(at, at + 2);
  if (stateSpace?.type !== 'selectiveStateUpdate' && stateSpace?.type !== 'mambaChunkScan') return undefined;
  if (gate?.type !== 'siluGate' || !covers(stateSpace.out, gate.x) || !uses.isOnlyReadBy(stateSpace.out, gate)) {
    return undefined;
  }
  return {
    operation: { type: 'gatedStateSpace' as const, stateSpace, gate, parts: [stateSpace, gate], out: gate.out },
    count: 2,
  };
}

/** What is added to a linear layer's result, if that is all that becomes of it. */
function residualOf(linear: LinearOperation, add: ElementwiseOperation, uses: TensorUses): GpuTensor | undefined {
  if (!uses.isOnlyReadBy(linear.out, add)) return undefined;
  if (covers(linear.out, add.y) && !covers(linear.out, add.x)) return add.x;
  return covers(linear.out, add.x) && !covers(linear.out, add.y) ? add.y : undefined;
}

/** Whether all that becomes of some columns of a linear layer's result is that they are convolved, one token a row. */
function isConvolvedAtOnce(
  linear: LinearOperation,
  convolution: ConvolutionUpdateOperation,
  uses: TensorUses,
): boolean {
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
