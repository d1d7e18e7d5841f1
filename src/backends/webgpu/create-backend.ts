import { type GpuDeviceOptions, requestGpuDevice } from './device/gpu-device.ts';
import { WebGpuBackend } from './webgpu-backend.ts';

/** A backend on the machine's GPU. @throws UnsupportedDeviceError when there is none. */
export async function createWebGpuBackend(options: GpuDeviceOptions = {}): Promise<WebGpuBackend> {
  return new WebGpuBackend(await requestGpuDevice(options));
}
