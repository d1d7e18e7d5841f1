import type { Storage } from '../device/gpu-tensor.ts';
import type { Lowering } from '../graph/lowering.ts';
import type { GpuLinearWeight } from './linear-weight.ts';

/** Weights that a kernel reads ahead for the next one: see prefetch.wgsl. */
export interface Prefetch {
  readonly vectors: number;
  readonly workgroups: number;
  readonly bindings: { readonly ahead: Storage; readonly sink: Storage };
}

const VECTOR_BYTES = 16;
const VECTORS_OF_INVOCATION = 8;
/** `ahead` and `sink`, besides what any kernel that prefetches is bound to. */
const STORAGES = 13;

/** Reads ahead the weight that the next kernel multiplies with, if there is one and it has no more than `most` bytes. */
export function prefetchOf(
  { gpu, nothing }: Lowering,
  weight: GpuLinearWeight | undefined,
  most: number,
  threads: number,
): Prefetch {
  const hasPlace = gpu.limits.maxStorageBuffersPerShaderStage >= STORAGES;
  const ahead = weight && hasPlace ? weight.parts[0].storage : nothing;
  const vectors = ahead === nothing || ahead.bytes > most ? 0 : Math.floor(ahead.bytes / VECTOR_BYTES);
  return {
    vectors,
    workgroups: Math.ceil(vectors / (VECTORS_OF_INVOCATION * threads)),
    bindings: { ahead, sink: nothing },
  };
}
