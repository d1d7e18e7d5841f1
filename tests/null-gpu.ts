import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { USAGE } from '../src/backends/webgpu/device/gpu-usage.ts';
import { createNodeGpu } from '../src/backends/webgpu/device/node-gpu.ts';

/** Dawn's device that computes nothing but checks everything, with every feature. */
const NULL_DEVICE = ['backend=null', 'enable-dawn-features=allow_unsafe_apis'];

/** What the null device is to be taken for. */
export interface Pretence {
  /** As `GPUAdapterInfo`, with Dawn's `subgroupMatrixConfigs`. */
  readonly info?: Readonly<Record<string, unknown>>;
  readonly limits?: Readonly<Record<string, number>>;
  readonly withoutFeatures?: readonly string[];
}

/** What NVIDIA's cards say of themselves. */
export const NVIDIA: Pretence = {
  info: {
    vendor: 'nvidia',
    subgroupMinSize: 32,
    subgroupMaxSize: 32,
    subgroupMatrixConfigs: [{ componentType: 'f16', resultComponentType: 'f32', M: 16, N: 16, K: 16 }],
  },
  limits: {
    maxComputeWorkgroupStorageSize: 49152,
    maxComputeInvocationsPerWorkgroup: 1024,
    maxComputeWorkgroupSizeX: 1024,
    maxStorageBuffersPerShaderStage: 16,
  },
};

/** The null device in another's clothes, as `navigator.gpu`. It keeps the name of every shader that it has compiled. */
export class NullGpu {
  /** Shaders with their constants: see Kernels. */
  readonly kernels = new Set<string>();
  readonly #devices: GPUDevice[] = [];
  readonly #compiled: Set<string> | undefined;

  private constructor(compiled: Set<string> | undefined) {
    this.#compiled = compiled;
  }

  /**
   * Puts it in place of the machine's, for everything in this thread that asks for one.
   * @param compiled texts of shaders that devices of this kind have compiled: it takes them without another look, and
   * adds its own. Their kernels can be waited for, but not run.
   */
  static async install(pretence: Pretence = {}, compiled?: Set<string>): Promise<NullGpu> {
    const nullGpu = new NullGpu(compiled);
    const gpu = await createNodeGpu(NULL_DEVICE);
    const requestAdapter = async () => {
      const adapter = await gpu.requestAdapter();
      return adapter && nullGpu.#dressAdapter(adapter, pretence);
    };
    Object.defineProperty(globalThis.navigator, 'gpu', {
      value: { requestAdapter, wgslLanguageFeatures: gpu.wgslLanguageFeatures, keptAlive: gpu },
      configurable: true,
    });
    return nullGpu;
  }

  /** Gives back the memory of devices that nobody needs any more: buffers lie in the process, which V8 does not see. */
  collect(): void {
    for (const device of this.#devices.splice(0)) device.destroy();
    setFlagsFromString('--expose-gc');
    runInNewContext('gc')();
  }

  uninstall(): void {
    this.collect();
    Reflect.deleteProperty(globalThis.navigator, 'gpu');
  }

  #dressAdapter(adapter: GPUAdapter, { info = {}, limits = {}, withoutFeatures = [] }: Pretence): GPUAdapter {
    const features = new Set([...adapter.features].filter((feature) => !withoutFeatures.includes(feature)));
    const requestDevice = async ({ requiredFeatures = [] }: GPUDeviceDescriptor = {}) => {
      const device = await adapter.requestDevice({ requiredFeatures });
      const { maxStorageBuffersPerShaderStage } = device.limits;
      Object.defineProperty(device, 'limits', { value: withOverrides(device.limits, limits) });
      this.#watch(device, maxStorageBuffersPerShaderStage);
      this.#devices.push(device);
      return device;
    };
    const dressed = { limits: withOverrides(adapter.limits, limits), info: withOverrides(adapter.info, info) };
    return { ...dressed, features, requestDevice } as unknown as GPUAdapter;
  }

  /** What only exceeds the null device's own limits is let through if it keeps to those that it pretends to have. */
  #watch(device: GPUDevice, realBuffers: number): void {
    const large = new Set<object>();
    const createBuffer = device.createBuffer.bind(device);
    const createBindGroupLayout = device.createBindGroupLayout.bind(device);
    const createPipelineLayout = device.createPipelineLayout.bind(device);
    const createBindGroup = device.createBindGroup.bind(device);
    const createShaderModule = device.createShaderModule.bind(device);
    const createComputePipelineAsync = device.createComputePipelineAsync.bind(device);
    const texts = new Map<object, string>();
    const standIn = <T extends object>(): T => {
      const object = {} as T;
      large.add(object);
      return object;
    };
    device.createBuffer = (descriptor) => {
      const buffer = createBuffer(descriptor);
      if ((descriptor.usage & USAGE.mapRead) === 0) return buffer;
      // Nothing is computed, so what would be read is whatever the memory held before: NaN at times.
      const getMappedRange = buffer.getMappedRange.bind(buffer);
      buffer.getMappedRange = (...range) => {
        const bytes = getMappedRange(...range);
        new Uint8Array(bytes).fill(0);
        return bytes;
      };
      return buffer;
    };
    device.createBindGroupLayout = (descriptor) => {
      const storages = [...descriptor.entries].filter(({ buffer }) => buffer?.type !== 'uniform').length;
      if (storages > device.limits.maxStorageBuffersPerShaderStage) throw new Error(`${storages} storage buffers`);
      return storages > realBuffers ? standIn() : createBindGroupLayout(descriptor);
    };
    device.createPipelineLayout = (descriptor) => {
      return [...descriptor.bindGroupLayouts].some((group) => group && large.has(group))
        ? standIn()
        : createPipelineLayout(descriptor);
    };
    device.createBindGroup = (descriptor) => (large.has(descriptor.layout) ? standIn() : createBindGroup(descriptor));
    device.createShaderModule = (descriptor) => {
      const { code } = descriptor;
      const module = this.#compiled?.has(code) ? ({} as GPUShaderModule) : createShaderModule(descriptor);
      texts.set(module, code);
      return module;
    };
    device.createComputePipelineAsync = async (descriptor) => {
      const { label = '', layout, compute } = descriptor;
      const text = texts.get(compute.module) ?? '';
      if (this.#compiled?.has(text)) {
        this.kernels.add(label);
        return {} as GPUComputePipeline;
      }
      const { messages } = await compute.module.getCompilationInfo();
      const errors = messages.filter(({ type }) => type === 'error');
      if (errors.length > 0) throw new Error(errors.map(({ message, lineNum }) => `${lineNum}: ${message}`).join('\n'));
      this.#compiled?.add(text);
      this.kernels.add(label);
      if (typeof layout === 'object' && large.has(layout)) return {} as GPUComputePipeline;
      return createComputePipelineAsync(descriptor).catch((error: Error) => {
        if (!isWithin(device.limits, error.message)) throw error;
        return {} as GPUComputePipeline;
      });
    };
  }
}

/** Whether a pipeline was refused for what a device of these limits would take. */
function isWithin(limits: GPUSupportedLimits, message: string): boolean {
  const [, threads] = /workgroup_size\((\d+), 1, 1\) that exceeds/.exec(message) ?? [];
  if (threads !== undefined) return Number(threads) <= limits.maxComputeInvocationsPerWorkgroup;
  const [, bytes] = /workgroup storage \((\d+) bytes\) is larger/.exec(message) ?? [];
  return bytes !== undefined && Number(bytes) <= limits.maxComputeWorkgroupStorageSize;
}

function withOverrides<T extends object>(values: T, overrides: Readonly<Record<string, unknown>>): T {
  const all: Record<string, unknown> = {};
  // They are getters of a prototype.
  for (const name in values) all[name] = values[name];
  return { ...all, ...overrides } as T;
}
