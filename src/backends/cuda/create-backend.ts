import type { ProcessGroup } from '../../distributed/process-group.ts';
import type { MatmulPrecision } from '../../tensor/matmul-precision.ts';
import { CudaBackend } from './cuda-backend.ts';
import { CudaDevice, type CudaDeviceOptions } from './device/cuda-device.ts';
import { NcclGroup } from './nccl/nccl-group.ts';

export interface CudaBackendOptions extends CudaDeviceOptions {
  /** The ranks that the backend exchanges with. One of GPUs says which GPU this rank has, and is joined. */
  readonly group?: ProcessGroup | undefined;
  /** How exactly products take their activations. Default: high. */
  readonly matmulPrecision?: MatmulPrecision | undefined;
}

/** A backend on an NVIDIA GPU. @throws MissingPackageError, UnsupportedDeviceError, RankFailedError */
export async function createCudaBackend({
  group,
  matmulPrecision,
  ...options
}: CudaBackendOptions = {}): Promise<CudaBackend> {
  if (!(group instanceof NcclGroup)) return new CudaBackend(await CudaDevice.open(options), { matmulPrecision });
  const device = await CudaDevice.open({ ordinal: group.gpu, ...options });
  await group.join(device);
  return new CudaBackend(device, { group, matmulPrecision });
}
