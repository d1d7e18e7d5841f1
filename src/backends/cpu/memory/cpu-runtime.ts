import type { BlockKernels, CodeFormat, Kernels } from '../kernels/kernels.ts';
import type { CpuMemory } from './cpu-memory.ts';

/** Kernels with the memory that they work on. */
export interface CpuRuntime {
  readonly memory: CpuMemory;
  readonly kernels: Kernels;
  /** The kernels for weights in a format. */
  readonly blockKernels: (format: CodeFormat) => BlockKernels;
}
