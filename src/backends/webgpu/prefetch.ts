import type { FusedOperation } from './fused-operation.ts';
import type { Storage } from './gpu-tensor.ts';
import type { Lowering } from './lowering.ts';
import type { Operation } from './operation.ts';

/** What a kernel reads ahead for the one behind it: see prefetch.wgsl. */
export interface Prefetch {
  readonly vectors: number;
  readonly workgroups: number;
  readonly bindings: Readonly<Record<string, Storage>>;
}

const VECTOR_BYTES = 16;
const VECTORS_OF_INVOCATION = 8;
/** `ahead` and `sink`, besides what any kernel that prefetches is bound to. */
const STORAGES = 15;

/** Of the weights of a linear layer, if that is what comes next. */
export function prefetchOf(
  { launch, gpu, nothing }: Lowering,
  next: Operation | FusedOperation | undefined,
  threads: number,
): Prefetch {
  const isLayer = next?.type === 'normLinear' && gpu.limits.maxStorageBuffersPerShaderStage >= STORAGES;
  const ahead = isLayer ? next.linear.weight.parts[0].storage : nothing;
  const bytes = isLayer ? Math.min(launch.prefetchedBytes, ahead.bytes) : 0;
  const vectors = Math.floor(bytes / VECTOR_BYTES);
  return {
    vectors,
    workgroups: Math.ceil(vectors / (VECTORS_OF_INVOCATION * threads)),
    bindings: { ahead, sink: nothing },
  };
}
