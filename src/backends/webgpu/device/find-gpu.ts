import { UnsupportedDeviceError } from '../../../errors.ts';

/**
 * Dawn's default options here. On NVIDIA's cards shader-f16 and subgroup matrices need the first two.
 * Shaders are our own and keep to their buffers, as browsers can't know: checking that again takes a quarter of a matrix
 * product's time. Timestamps, otherwise rounded to 65 µs, are for measuring.
 */
const NODE_OPTIONS = [
  'enable-dawn-features=vulkan_enable_f16_on_nvidia,allow_unsafe_apis,disable_robustness',
  'disable-dawn-features=timestamp_quantization',
];

/** Facts that tell one GPU from another. */
export interface GpuInfo {
  readonly vendor: string;
  readonly architecture: string;
  /** The GPU's name, if the runtime says it. */
  readonly device: string;
  readonly description: string;
  /** Whether it computes on the processor. */
  readonly isSoftware: boolean;
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
  /** Whether subgroups of 32 multiply float16 matrices of 16 x 16, with float32 sums. */
  readonly hasMatrices: boolean;
}

/** Describes the machine's GPU without taking it. @throws UnsupportedDeviceError when there is none. */
export async function describeGpu(): Promise<GpuInfo> {
  return gpuInfo(await requestAdapter(await findGpu()));
}

/** @param nodeOptions of the `webgpu` package in Node. @throws UnsupportedDeviceError */
export async function findGpu(nodeOptions: readonly string[] = NODE_OPTIONS): Promise<GPU> {
  if (globalThis.navigator?.gpu) return navigator.gpu;
  if (!isNode()) {
    throw new UnsupportedDeviceError(
      'This browser offers no WebGPU to this page.',
      "It takes a secure page (https or localhost) and a browser that has it: Chrome or Edge 113, Safari 26, Firefox 141, or newer. Use the device 'cpu' otherwise.",
    );
  }
  const { createNodeGpu } = await import('./node-gpu.ts');
  return createNodeGpu(nodeOptions);
}

function isNode(): boolean {
  return globalThis.process?.versions?.node !== undefined;
}

const NODE_ADVICE = "On Linux it needs a Vulkan loader and driver (libvulkan1). Use the device 'cpu' otherwise.";
const BROWSER_ADVICE =
  "The browser has WebGPU, but no GPU that it may use: see chrome://gpu or about:support. Use the device 'cpu' otherwise.";

/** @throws UnsupportedDeviceError when there is none. */
export async function requestAdapter(gpu: GPU): Promise<GPUAdapter> {
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (adapter) return adapter;
  throw new UnsupportedDeviceError('WebGPU finds no GPU here.', isNode() ? NODE_ADVICE : BROWSER_ADVICE);
}

export function gpuInfo({ info }: GPUAdapter): GpuInfo {
  const { vendor, architecture, device, description } = info;
  const isSoftware =
    info.isFallbackAdapter || /swiftshader|llvmpipe|lavapipe|basic render/i.test(`${architecture} ${description}`);
  const { subgroupMinSize = 4, subgroupMaxSize = 128 } = info;
  const hasMatrices = subgroupMinSize === 32 && subgroupMaxSize === 32 && matrixConfigs(info).some(isHalfBySixteen);
  return { vendor, architecture, device, description, isSoftware, subgroupMinSize, subgroupMaxSize, hasMatrices };
}

/** A kind of subgroup matrices, as Dawn's experimental feature lists them. */
interface MatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

function matrixConfigs(info: GPUAdapterInfo): readonly MatrixConfig[] {
  const { subgroupMatrixConfigs } = info as { readonly subgroupMatrixConfigs?: readonly MatrixConfig[] };
  return subgroupMatrixConfigs ?? [];
}

function isHalfBySixteen({ componentType, resultComponentType, M, N, K }: MatrixConfig): boolean {
  return componentType === 'f16' && resultComponentType === 'f32' && M === 16 && N === 16 && K === 16;
}
