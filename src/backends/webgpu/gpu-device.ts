import { DeviceLostError, GpuError, OutOfDeviceMemoryError, UnsupportedDeviceError } from '../../errors.ts';

/** Limits that the backend lives by. Names and meaning are WebGPU's. */
export const LIMITS = [
  'maxStorageBufferBindingSize',
  'maxBufferSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupsPerDimension',
] as const;
export type GpuLimits = Readonly<Record<(typeof LIMITS)[number], number>>;

/** Features that make something faster. The backend works without any of them. */
const WANTED_FEATURES: readonly string[] = [
  'shader-f16',
  'subgroups',
  'subgroup-size-control',
  'chromium-experimental-subgroup-matrix',
  'timestamp-query',
];

/**
 * Dawn's options where nobody gives others. On NVIDIA's cards shader-f16 and subgroup matrices hide behind these.
 */
const NODE_OPTIONS = ['enable-dawn-features=vulkan_enable_f16_on_nvidia,allow_unsafe_apis'];

export interface GpuDeviceOptions {
  /** Options of the `webgpu` package in Node. */
  readonly nodeOptions?: readonly string[] | undefined;
  /** Features not to use though the device has them. */
  readonly withoutFeatures?: readonly string[] | undefined;
  /** Ask for no more than every device gives: WebGPU's default limits. */
  readonly defaultLimits?: boolean | undefined;
  /** Limits to keep to though the device gives more. */
  readonly limits?: Partial<GpuLimits> | undefined;
}

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

/** A device with what is known of it, and what has become of it. */
export class GpuDevice {
  readonly device: GPUDevice;
  readonly limits: GpuLimits;
  readonly features: ReadonlySet<string>;
  readonly info: GpuInfo;
  /** Dawn crashes if this is collected before the device, so it is kept until the device is given back. */
  #gpu: GPU | undefined;
  #failure: Error | undefined;
  readonly #onFailure = new Set<(error: Error) => void>();

  constructor(gpu: GPU, adapter: GPUAdapter, device: GPUDevice, options: GpuDeviceOptions) {
    const { withoutFeatures = [], limits = {} } = options;
    this.#gpu = gpu;
    this.device = device;
    this.features = new Set([...device.features].filter((feature) => !withoutFeatures.includes(feature)));
    this.limits = Object.fromEntries(
      LIMITS.map((name) => [name, Math.min(device.limits[name], limits[name] ?? Number.POSITIVE_INFINITY)]),
    ) as GpuLimits;
    this.info = gpuInfo(adapter);
    device.lost.then(({ reason, message }) => {
      if (reason === 'destroyed' && !this.#gpu) return;
      this.fail(new DeviceLostError(`The GPU was lost: ${message || reason}.`, 'Load the model again.'));
    });
    device.addEventListener('uncapturederror', (event) => this.fail(asGpuError(event.error)));
  }

  /** Why it can't be used any more. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** @throws what made it fail. */
  assertUsable(): void {
    if (this.#failure) throw this.#failure;
  }

  /** The first failure is the one that counts. */
  fail(error: Error): void {
    if (this.#failure) return;
    this.#failure = error;
    for (const listener of this.#onFailure) listener(error);
    this.#onFailure.clear();
  }

  /** What `work` gives, or the device's failure if that comes first: a lost device may leave promises open for ever. */
  async unlessItFails<T>(work: Promise<T>): Promise<T> {
    this.assertUsable();
    let listener: ((error: Error) => void) | undefined;
    const failed = new Promise<never>((_, reject) => {
      listener = reject;
      this.#onFailure.add(reject);
    });
    try {
      return await Promise.race([work, failed]);
    } catch (error) {
      // A loss shows up as some other error first.
      await Promise.resolve();
      throw this.#failure ?? error;
    } finally {
      if (listener) this.#onFailure.delete(listener);
    }
  }

  /** Gives the device and all its memory back. */
  destroy(): void {
    this.#gpu = undefined;
    this.device.destroy();
  }
}

/**
 * Asks for the machine's GPU: of the browser (or runtime) or, in Node, of the `webgpu` package.
 * @throws UnsupportedDeviceError when there is none.
 */
export async function requestGpuDevice(options: GpuDeviceOptions = {}): Promise<GpuDevice> {
  const gpu = await findGpu(options.nodeOptions);
  const adapter = await requestAdapter(gpu);
  const requiredFeatures = WANTED_FEATURES.filter(
    (feature) => adapter.features.has(feature) && !options.withoutFeatures?.includes(feature),
  ) as GPUFeatureName[];
  const requiredLimits = options.defaultLimits
    ? {}
    : Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]]));
  const device = await adapter.requestDevice({ requiredFeatures, requiredLimits });
  return new GpuDevice(gpu, adapter, device, options);
}

/** What the machine's GPU is, without taking it. @throws UnsupportedDeviceError when there is none. */
export async function describeGpu(nodeOptions?: readonly string[]): Promise<GpuInfo> {
  return gpuInfo(await requestAdapter(await findGpu(nodeOptions)));
}

async function findGpu(nodeOptions: readonly string[] = NODE_OPTIONS): Promise<GPU> {
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

async function requestAdapter(gpu: GPU): Promise<GPUAdapter> {
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (adapter) return adapter;
  throw new UnsupportedDeviceError(
    'WebGPU finds no GPU here.',
    "On Linux it needs a Vulkan loader and driver (libvulkan1). Use the device 'cpu' otherwise.",
  );
}

function gpuInfo({ info }: GPUAdapter): GpuInfo {
  const { vendor, architecture, description } = info;
  const isSoftware =
    info.isFallbackAdapter || /swiftshader|llvmpipe|lavapipe|basic render/i.test(`${architecture} ${description}`);
  const { subgroupMinSize = 4, subgroupMaxSize = 128 } = info;
  return { vendor, architecture, description, isSoftware, subgroupMinSize, subgroupMaxSize };
}

function asGpuError(error: GPUError): Error {
  if (error.constructor.name === 'GPUOutOfMemoryError') {
    return new OutOfDeviceMemoryError(
      `The GPU has no memory left: ${error.message}`,
      'Use fewer slots or a smaller dtype.',
    );
  }
  return new GpuError(`The GPU refused a command: ${error.message}`);
}
