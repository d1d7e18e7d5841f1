import type { ProcessGroup } from '../../distributed/process-group.ts';
import type { Tensor } from '../../tensor/tensor.ts';

/** Exchanges between ranks. Every rank calls them in the same order. */
export interface CollectiveOps {
  /** Each tensor's sum over all ranks, on all ranks, in one exchange. The tensors may be overwritten. */
  allReduce(tensors: readonly Tensor[], group: ProcessGroup): Tensor[];

  /** The ranks' columns side by side: x (T, C) → (T, size * C). */
  allGatherColumns(x: Tensor, group: ProcessGroup): Tensor;
}
