import type { GpuTensor } from '../device/gpu-tensor.ts';
import type {
  ConvolutionUpdateOperation,
  ElementwiseOperation,
  LinearOperation,
  Operation,
  ScanOperation,
  StateUpdateOperation,
} from '../graph/operation.ts';

/** What several operations compute at once. `parts` are they, for where no kernel does. */
interface Fused {
  readonly parts: readonly Operation[];
  readonly out: GpuTensor;
}

/** out = linear(norm(x)) + residual, of which some columns are convolved instead and go to the convolution's result. */
export interface NormLinearOperation extends Fused {
  readonly type: 'normLinear';
  readonly x: GpuTensor;
  /** Whether nobody else reads x. */
  readonly isOnlyReader: boolean;
  readonly norm: RowNorm;
  readonly linear: LinearOperation;
  readonly residual: GpuTensor | undefined;
  readonly convolution: ConvolutionUpdateOperation | undefined;
}

/** x / sqrt(mean(x²) + eps) * weight, over groups of columns. */
export interface RowNorm {
  readonly weight: GpuTensor;
  readonly eps: number;
  readonly groups: number;
}

/** out = stateSpace(...) * silu(gate) */
export interface GatedStateSpaceOperation extends Fused {
  readonly type: 'gatedStateSpace';
  readonly stateSpace: ScanOperation | StateUpdateOperation;
  readonly gate: ElementwiseOperation;
}

export type FusedOperation = NormLinearOperation | GatedStateSpaceOperation;
