import { CudaBackend } from './cuda-backend.ts';
import { CudaDevice, type CudaDeviceOptions, type CudaInfo, describeGpu } from './device/cuda-device.ts';
import { CudaDriver } from './device/driver.ts';

/** A backend on an NVIDIA GPU. @throws MissingPackageError, UnsupportedDeviceError */
export async function createCudaBackend(options: CudaDeviceOptions = {}): Promise<CudaBackend> {
  return new CudaBackend(await CudaDevice.open(options));
}

/** Describes the machine's first NVIDIA GPU without taking it. @throws MissingPackageError, UnsupportedDeviceError */
export async function describeCuda(): Promise<CudaInfo> {
  return describeGpu(await CudaDriver.load(), 0);
}
