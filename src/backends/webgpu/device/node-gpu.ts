import { UnsupportedDeviceError } from '../../../errors.ts';

/**
 * Dawn, by its options: each serves the process to its end. Collected while a device that came of it is still compiling
 * or answering, even one that was destroyed, it takes the process with it.
 */
const instances = new Map<string, GPU>();

/**
 * WebGPU in Node: the `webgpu` package (Dawn), an optional peer dependency. Browsers never load this file.
 * @param options Dawn's own, as `backend=null` or `enable-dawn-features=...`.
 * @throws UnsupportedDeviceError when the package is not installed, or does not run here.
 */
export async function createNodeGpu(options: readonly string[]): Promise<GPU> {
  try {
    const { create } = await import('webgpu');
    const key = options.join('\n');
    const gpu = instances.get(key) ?? create([...options]);
    instances.set(key, gpu);
    return gpu;
  } catch (cause) {
    throw new UnsupportedDeviceError(
      `The 'webgpu' package can't be loaded: ${cause instanceof Error ? cause.message : cause}.`,
      "Install it ('npm install webgpu'), or use the device 'cpu'.",
      { cause },
    );
  }
}
