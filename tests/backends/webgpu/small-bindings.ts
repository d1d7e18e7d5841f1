import type { Backend } from '../../../src/backends/contract/backend.ts';
import { ReferenceBackend } from '../../../src/backends/reference/reference-backend.ts';
import { createWebGpuBackend } from '../../../src/backends/webgpu/create-backend.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';

/** Runs the same on a device that can bind 4 KiB at most and on the reference; → both results. */
export async function onBoth(
  compute: (backend: Backend) => Tensor | Promise<Float32Array>,
): Promise<[Float32Array, Float32Array]> {
  const small = await createWebGpuBackend({ limits: { maxStorageBufferBindingSize: 4096, maxBufferSize: 4096 } });
  const run = async (backend: Backend) => {
    const result = await compute(backend);
    return result instanceof Float32Array ? result : backend.read(result);
  };
  const results = [await run(small), await run(new ReferenceBackend())] as [Float32Array, Float32Array];
  small.dispose();
  return results;
}
