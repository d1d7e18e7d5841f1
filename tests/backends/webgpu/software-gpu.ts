import { existsSync } from 'node:fs';
import { type GpuDeviceOptions, requestGpuDevice } from '../../../src/backends/webgpu/gpu-device.ts';
import { WebGpuBackend } from '../../../src/backends/webgpu/webgpu-backend.ts';

/** SwiftShader, a Vulkan driver on the processor, as Debian's chromium brings it. */
const SWIFTSHADER = '/usr/lib/chromium/vk_swiftshader_icd.json';

/** Whether tests have a GPU to run on. In CI they must. */
export const hasGpu = process.env.VK_ICD_FILENAMES !== undefined || existsSync(SWIFTSHADER) || Boolean(process.env.CI);

/** Read by the Vulkan loader when the first device is asked for. */
process.env.VK_ICD_FILENAMES ??= SWIFTSHADER;

export async function softwareBackend(options: GpuDeviceOptions = {}): Promise<WebGpuBackend> {
  return new WebGpuBackend(await requestGpuDevice(options));
}
