import type { GpuInfo } from '../device/find-gpu.ts';
import { DEFAULT_LAUNCH } from './default.ts';
import type { LaunchParameters } from './launch-parameters.ts';
import { NVIDIA_LAUNCH } from './nvidia.ts';

const BY_VENDOR: Readonly<Record<string, LaunchParameters>> = { nvidia: NVIDIA_LAUNCH };

/** The parameters that were measured for a device like this one, or those that run everywhere. */
export function launchParametersFor({ vendor, isSoftware }: Pick<GpuInfo, 'vendor' | 'isSoftware'>): LaunchParameters {
  return isSoftware ? DEFAULT_LAUNCH : (BY_VENDOR[vendor] ?? DEFAULT_LAUNCH);
}
