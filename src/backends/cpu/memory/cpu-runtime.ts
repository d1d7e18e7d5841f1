import type { BlockKernels, CodeFormat, Kernels, ProductKernels } from '../kernels/kernels.ts';
import type { CpuMemory } from './cpu-memory.ts';

/** Kernels with the memory that they work on. */
export interface CpuRuntime {
  readonly memory: CpuMemory;
  readonly kernels: Kernels;
  /** Products with weights that the backend packs: of several rows, and of one. */
  readonly products: { readonly prompt: ProductKernels; readonly decode: ProductKernels };
  /** The kernels for weights in a format. */
  readonly blockKernels: (format: CodeFormat) => BlockKernels;
}
