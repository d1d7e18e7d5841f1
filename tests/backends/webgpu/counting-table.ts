import type { LinearWeight } from '../../../src/backends/contract/linear.ts';
import type { WebGpuBackend } from '../../../src/backends/webgpu/webgpu-backend.ts';

/** Kinds of steps: more than are kept. */
export const KEYS = 300;
export const [IDS, COLUMNS] = [400, 4];

/** A table whose row i is (i, i, ...). */
export function countingTable(backend: WebGpuBackend): LinearWeight {
  const values = Float32Array.from({ length: IDS * COLUMNS }, (_, i) => Math.floor(i / COLUMNS));
  return backend.linearWeight(values, IDS, COLUMNS, 'float32');
}
