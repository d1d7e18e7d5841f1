import { UnsupportedDeviceError } from '../../errors.ts';

/**
 * Dawn's options where nobody gives others. On NVIDIA's cards shader-f16 and subgroup matrices hide behind these.
 */
const NODE_OPTIONS = ['enable-dawn-features=vulkan_enable_f16_on_nvidia,allow_unsafe_apis'];

/** What tells one GPU from another. */
export interface GpuInfo {
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  /** It computes on the processor. */
  readonly isSoftware: boolean;
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
}

/** What the machine's GPU is, without taking it. @throws UnsupportedDeviceError when there is none. */
export async function describeGpu(): Promise<GpuInfo> {
  return gpuInfo(await requestAdapter(await findGpu()));
}

/** @param nodeOptions of the `webgpu` package in Node. @throws UnsupportedDeviceError */
export async function findGpu(nodeOptions: readonly string[] = NODE_OPTIONS): Promise<GPU> {
  if (globalThis.navigator?.gpu) return navigator.gpu;
  if (globalThis.process?.versions?.node === undefined) {
    throw new UnsupportedDeviceError(
      'This browser has no WebGPU here.',
      "It needs a secure page (https or localhost). Use the device 'cpu' otherwise.",
    );
  }
  const { createNodeGpu } = await import('./node-gpu.ts');
  return createNodeGpu(nodeOptions);
}

/** @throws UnsupportedDeviceError when there is none. */
export async function requestAdapter(gpu: GPU): Promise<GPUAdapter> {
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (adapter) return adapter;
  throw new UnsupportedDeviceError(
    'WebGPU finds no GPU here.',
    "On Linux it needs a Vulkan loader and driver (libvulkan1). Use the device 'cpu' otherwise.",
  );
}

export function gpuInfo({ info }: GPUAdapter): GpuInfo {
  const { vendor, architecture, description } = info;
  const isSoftware =
    info.isFallbackAdapter || /swiftshader|llvmpipe|lavapipe|basic render/i.test(`${architecture} ${description}`);
  const { subgroupMinSize = 4, subgroupMaxSize = 128 } = info;
  return { vendor, architecture, description, isSoftware, subgroupMinSize, subgroupMaxSize };
}
