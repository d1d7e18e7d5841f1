import type { Storage } from '../device/gpu-tensor.ts';
import type { Lowering } from '../graph/lowering.ts';
import type { Operation } from '../graph/operation.ts';
import type { FusedOperation } from '../ops/fused-operation.ts';

/** What a kernel reads ahead for the one behind it: see prefetch.wgsl. */
export interface Prefetch {
  readonly vectors: number;
  readonly workgroups: number;
  readonly bindings: Readonly<Record<string, Storage>>;
}

const VECTOR_BYTES = 16;
const VECTORS_OF_INVOCATION = 8;
/** `ahead` and `sink`, besides what any kernel that prefetches is bound to. */
const STORAGES = 13;

/** Of a linear layer's weights, if that is what comes next and they are no larger than `most` bytes. */
export function prefetchOf(
  { gpu, nothing }: Lowering,
  next: Operation | FusedOperation | undefined,
  most: number,
  threads: number,
): Prefetch {
  const hasPlace = gpu.limits.maxStorageBuffersPerShaderStage >= STORAGES;
  const ahead = next?.type === 'normLinear' && hasPlace ? next.linear.weight.parts[0].storage : nothing;
  const vectors = ahead === nothing || ahead.bytes > most ? 0 : Math.floor(ahead.bytes / VECTOR_BYTES);
  return {
    vectors,
    workgroups: Math.ceil(vectors / (VECTORS_OF_INVOCATION * threads)),
    bindings: { ahead, sink: nothing },
  };
}
