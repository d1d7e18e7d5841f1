import { DeviceLostError, GpuError, OutOfDeviceMemoryError } from '../../../errors.ts';
import { findGpu, type GpuInfo, gpuInfo, requestAdapter } from './find-gpu.ts';
import { type ExactFloat16, findExactFloat16, NO_EXACT_FLOAT16 } from './float16-conversions.ts';

export type { GpuInfo } from './find-gpu.ts';

/** Limits that the backend keeps to, with WebGPU's names and meanings. */
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

/** Features that subgroup matrices of float16 need. */
const MATRIX_FEATURES = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'];

export interface GpuDeviceOptions {
  /** Options of the `webgpu` package in Node. */
  readonly nodeOptions?: readonly string[] | undefined;
  /** Features not to use though the device has them. */
  readonly withoutFeatures?: readonly string[] | undefined;
  /** Ask for no more than every device gives: WebGPU's default limits. */
  readonly defaultLimits?: boolean | undefined;
  /** Limits to keep to though the device gives more. */
  readonly limits?: Partial<GpuLimits> | undefined;
  /** Conversions of float16 to take for exact. Default: those of the GPU that are, and none of a software GPU's. */
  readonly exactFloat16?: ExactFloat16 | undefined;
}

/** A device, with its features and limits, and whether it still works. */
export class GpuDevice {
  readonly device: GPUDevice;
  readonly limits: GpuLimits;
  readonly features: ReadonlySet<string>;
  readonly info: GpuInfo;
  /** Conversions of WGSL that are used where their results must be exact. */
  readonly exactFloat16: ExactFloat16;
  #isGivenBack = false;
  #failure: Error | undefined;
  readonly #onFailure = new Set<(error: Error) => void>();
  /** Resolves when the device can't be used any more, unless it was given back. */
  readonly failed: Promise<Error>;

  constructor(adapter: GPUAdapter, device: GPUDevice, options: GpuDeviceOptions) {
    const { withoutFeatures = [], limits = {}, exactFloat16 = NO_EXACT_FLOAT16 } = options;
    this.device = device;
    this.failed = new Promise((resolve) => this.#onFailure.add(resolve));
    this.features = new Set([...device.features].filter((feature) => !withoutFeatures.includes(feature)));
    this.limits = Object.fromEntries(
      LIMITS.map((name) => [name, Math.min(device.limits[name], limits[name] ?? Number.POSITIVE_INFINITY)]),
    ) as GpuLimits;
    this.info = gpuInfo(adapter);
    this.exactFloat16 = exactFloat16;
    device.lost.then(({ reason, message }) => {
      if (reason === 'destroyed' && this.#isGivenBack) return;
      this.fail(new DeviceLostError(`The GPU was lost: ${message || reason}.`, 'Load the model again.'));
    });
    device.addEventListener('uncapturederror', (event) => this.fail(asGpuError(event.error)));
  }

  /** Whether there are subgroup matrices of the kind that kernels use: see {@link GpuInfo.hasMatrices}. */
  get hasMatrices(): boolean {
    return this.info.hasMatrices && MATRIX_FEATURES.every((feature) => this.features.has(feature));
  }

  /** Why the device can't be used any more. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** @throws the reason if the device failed. */
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

  /**
   * The result of `work`, or the device's failure if that comes first: a lost device may leave promises open for ever.
   */
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
    this.#isGivenBack = true;
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
  // Software gains nothing by them.
  const find = () => (gpuInfo(adapter).isSoftware ? NO_EXACT_FLOAT16 : findExactFloat16(device));
  return new GpuDevice(adapter, device, { ...options, exactFloat16: options.exactFloat16 ?? (await find()) });
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
