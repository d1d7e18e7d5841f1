import { CudaBackend } from './cuda-backend.ts';
import { CudaDevice, type CudaDeviceOptions } from './device/cuda-device.ts';

/** A backend on an NVIDIA GPU. @throws MissingPackageError, UnsupportedDeviceError */
export async function createCudaBackend(options: CudaDeviceOptions = {}): Promise<CudaBackend> {
  return new CudaBackend(await CudaDevice.open(options));
}
